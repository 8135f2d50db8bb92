-- `tally.moves` and `tally.moved` in one statement. The row of the batch is locked first, so that two of these never wait
-- for each other. What `old` saw may be older than that lock: jobs over which such a race was lost are not `known`, and
-- whoever asks tries again. No row: no such batch.
WITH batch AS MATERIALIZED (
  SELECT {tally}, places FROM laraq_job_batches WHERE id = :id AND phase < 2 FOR UPDATE
), told AS MATERIALIZED (
  SELECT job, CAST(number AS int) AS number
  FROM jsonb_array_elements_text(CAST(:jobs AS jsonb)) WITH ORDINALITY AS each (job, number)
), old AS MATERIALIZED (
  SELECT job, state, state = ANY (CAST(:ends AS smallint[])) AS moves
  FROM laraq_batch_jobs WHERE batch_id = :id AND job = ANY (ARRAY(SELECT job FROM told))
), moved AS (
  UPDATE laraq_batch_jobs AS member SET state = CAST(:outcome AS smallint) FROM batch, old
  WHERE member.batch_id = :id AND member.job = old.job AND member.state = old.state AND old.moves
  RETURNING old.state AS before
), joined AS (
  INSERT INTO laraq_batch_jobs (batch_id, job, state, load_name, place)
  SELECT id, CAST(job AS varchar), CAST(:outcome AS smallint), '', places + number - 1 FROM batch, told
  WHERE NOT EXISTS (SELECT FROM old WHERE old.job = told.job)
  ON CONFLICT DO NOTHING
  RETURNING CAST(NULL AS smallint) AS before
), never AS (
  UPDATE laraq_batch_jobs AS member SET state = 3 FROM batch
  WHERE member.batch_id = :id AND member.job = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(:dropped AS jsonb))))
  AND member.state = 0
  RETURNING 1
), change AS MATERIALIZED (
  SELECT
    CAST(count(*) AS int) AS news,
    CASE WHEN CAST(:outcome AS smallint) > 0 THEN CAST(count(*) AS int) ELSE 0 END AS ended,
    CAST(count(*) FILTER (WHERE before IS NULL) AS int) AS joined,
    CAST(count(*) FILTER (WHERE before = 1) AS int) AS less_done,
    CAST(count(*) FILTER (WHERE before = 2) AS int) AS less_failed,
    CAST(count(*) FILTER (WHERE before = 3) AS int) AS less_dropped,
    (SELECT CAST(count(*) AS int) FROM never) AS gone
  FROM (SELECT before FROM moved UNION ALL SELECT before FROM joined) AS changes
), counted AS (
  UPDATE laraq_job_batches SET
    total = total + joined,
    places = places + CASE WHEN joined > 0 THEN jsonb_array_length(CAST(:jobs AS jsonb)) ELSE 0 END,
    done = done - less_done + CASE CAST(:outcome AS smallint) WHEN 1 THEN news ELSE 0 END,
    failed = failed - less_failed + CASE CAST(:outcome AS smallint) WHEN 2 THEN news ELSE 0 END,
    dropped = dropped - less_dropped + CASE CAST(:outcome AS smallint) WHEN 3 THEN news ELSE 0 END + gone,
    phase = 0,
    cancelled_at = CASE
      WHEN CAST(:outcome AS smallint) = 2 AND news > 0 AND NOT allow_failures THEN COALESCE(cancelled_at, {now})
      ELSE cancelled_at
    END,
    finished_at = CASE
      WHEN loads = 0
      AND total + joined = done - less_done + failed - less_failed + dropped - less_dropped + ended + gone
      THEN COALESCE(finished_at, {now})
    END
  FROM change WHERE id = :id AND news + gone > 0
  RETURNING {tally}
), stayed AS (
  SELECT CAST(count(*) AS int) AS stayed FROM old WHERE NOT moves
)
SELECT counted.*, news, news + stayed AS known FROM counted, change, stayed
UNION ALL
SELECT {tally}, news, news + stayed FROM batch, change, stayed WHERE NOT EXISTS (SELECT FROM counted)
