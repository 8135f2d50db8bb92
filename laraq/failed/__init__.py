"""Failed jobs: kept, shown and sent again."""
