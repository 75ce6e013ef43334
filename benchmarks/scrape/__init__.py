"""What it costs the operator to read the counts of a thousand models, beside a bare scraper."""
