"""The exactly-once link: frames over any line of bytes between a host and a board."""
