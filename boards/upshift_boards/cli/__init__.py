"""Commands of ``upshift`` that concern boards."""
