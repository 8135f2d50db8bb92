"""An SQL database: engines, dialects, errors."""
