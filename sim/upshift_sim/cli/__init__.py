"""Commands of ``upshift`` that simulate."""
