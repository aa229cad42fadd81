"""Commands of ``upshift`` that make hardware."""
