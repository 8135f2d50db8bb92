-- Note how a job of a batch ended, and that others will never run. The row of the batch is locked first, so that two
-- of these never wait for each other. What `old` saw may be older than that lock: who lost such a race over one job
-- changes nothing, finds `changed` NULL, and tries again. No row: no such batch.
WITH batch AS MATERIALIZED (
  SELECT {tally}, places FROM laraq_job_batches WHERE id = :id AND phase < 2 FOR UPDATE
), old AS MATERIALIZED (
  SELECT state, state IN (1, CAST(:outcome AS smallint)) OR (state = 2 AND CAST(:outcome AS smallint) = 3) AS stays
  FROM laraq_batch_jobs WHERE batch_id = :id AND job = :job
), moved AS (
  UPDATE laraq_batch_jobs AS member SET state = CAST(:outcome AS smallint) FROM batch, old
  WHERE member.batch_id = :id AND member.job = :job AND member.state = old.state AND NOT old.stays
  RETURNING old.state AS before
), joined AS (
  INSERT INTO laraq_batch_jobs (batch_id, job, state, load_name, place)
  SELECT id, CAST(:job AS varchar), CAST(:outcome AS smallint), '', places FROM batch WHERE NOT EXISTS (SELECT FROM old)
  ON CONFLICT DO NOTHING
  RETURNING CAST(NULL AS smallint) AS before
), noted AS MATERIALIZED (
  SELECT before, CAST(:outcome AS smallint) AS after, TRUE AS changed
  FROM (SELECT before FROM moved UNION ALL SELECT before FROM joined) AS changes
  UNION ALL
  SELECT state, state, FALSE FROM batch, old WHERE stays
), never AS (
  UPDATE laraq_batch_jobs AS member SET state = 3 FROM noted
  WHERE member.batch_id = :id AND member.job = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(:dropped AS jsonb))))
  AND member.state = 0
  RETURNING 1
), change AS MATERIALIZED (
  SELECT
    changed OR gone > 0 AS counts,
    changed AND after = 2 AS fails,
    CAST(before IS NULL AS int) AS joined,
    CAST(after = 1 AS int) - CAST(before IS NOT DISTINCT FROM 1 AS int) AS more_done,
    CAST(after = 2 AS int) - CAST(before IS NOT DISTINCT FROM 2 AS int) AS more_failed,
    CAST(after = 3 AS int) - CAST(before IS NOT DISTINCT FROM 3 AS int) + CAST(gone AS int) AS more_dropped
  FROM noted, (SELECT count(*) AS gone FROM never) AS never
), counted AS (
  UPDATE laraq_job_batches SET
    total = total + joined,
    places = places + joined,
    done = done + more_done,
    failed = failed + more_failed,
    dropped = dropped + more_dropped,
    phase = 0,
    cancelled_at = CASE WHEN fails AND NOT allow_failures THEN COALESCE(cancelled_at, {now}) ELSE cancelled_at END,
    finished_at = CASE
      WHEN loads = 0 AND total + joined = done + more_done + failed + more_failed + dropped + more_dropped
      THEN COALESCE(finished_at, {now})
    END
  FROM change WHERE id = :id AND counts
  RETURNING {tally}
)
SELECT counted.*, (SELECT changed FROM noted) AS changed FROM counted
UNION ALL
SELECT {tally}, (SELECT changed FROM noted) FROM batch WHERE NOT EXISTS (SELECT FROM counted)
