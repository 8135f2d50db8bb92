-- Note that jobs of a batch succeeded. As in `settle_postgresql.sql` the row of the batch is locked first, and what `old`
-- saw may be older than that lock: jobs over which such a race was lost are not `known`, and whoever asks tries again.
-- No row: no such batch.
WITH batch AS MATERIALIZED (
  SELECT {tally}, places FROM laraq_job_batches WHERE id = :id AND phase < 2 FOR UPDATE
), told AS MATERIALIZED (
  SELECT job, CAST(number AS int) AS number
  FROM jsonb_array_elements_text(CAST(:jobs AS jsonb)) WITH ORDINALITY AS each (job, number)
), old AS MATERIALIZED (
  SELECT job, state FROM laraq_batch_jobs WHERE batch_id = :id AND job IN (SELECT job FROM told)
), moved AS (
  UPDATE laraq_batch_jobs AS member SET state = 1 FROM batch, old
  WHERE member.batch_id = :id AND member.job = old.job AND member.state = old.state AND old.state <> 1
  RETURNING old.state AS before
), joined AS (
  INSERT INTO laraq_batch_jobs (batch_id, job, state, load_name, place)
  SELECT id, CAST(job AS varchar), CAST(1 AS smallint), '', places + number - 1 FROM batch, told
  WHERE NOT EXISTS (SELECT FROM old WHERE old.job = told.job)
  ON CONFLICT DO NOTHING
  RETURNING 1
), change AS MATERIALIZED (
  SELECT
    moved.done + joined.done AS more_done,
    joined.done AS joined,
    moved.failed AS less_failed,
    moved.dropped AS less_dropped,
    moved.done + joined.done + stayed.done AS known
  FROM (
    SELECT
      CAST(count(*) AS int) AS done,
      CAST(count(*) FILTER (WHERE before = 2) AS int) AS failed,
      CAST(count(*) FILTER (WHERE before = 3) AS int) AS dropped
    FROM moved
  ) AS moved,
  (SELECT CAST(count(*) AS int) AS done FROM joined) AS joined,
  (SELECT CAST(count(*) AS int) AS done FROM old WHERE state = 1) AS stayed
), counted AS (
  UPDATE laraq_job_batches SET
    total = total + joined,
    places = places + CASE WHEN joined > 0 THEN (SELECT CAST(count(*) AS int) FROM told) ELSE 0 END,
    done = done + more_done,
    failed = failed - less_failed,
    dropped = dropped - less_dropped,
    phase = 0,
    finished_at = CASE
      WHEN loads = 0 AND total + joined = done + more_done + failed - less_failed + dropped - less_dropped
      THEN COALESCE(finished_at, {now})
    END
  FROM change WHERE id = :id AND more_done > 0
  RETURNING {tally}
)
SELECT counted.*, TRUE AS changed, (SELECT known FROM change) AS known FROM counted
UNION ALL
SELECT {tally}, FALSE, (SELECT known FROM change) FROM batch WHERE NOT EXISTS (SELECT FROM counted)
