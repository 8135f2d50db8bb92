"""One delivery: load the job, run it, judge the outcome, keep the books."""
