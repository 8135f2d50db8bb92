-- Note how a job of a batch ended, and that others will never run, in one round trip. The row of the batch is locked
-- first, so that two of these never wait for each other, and what is read after it is true. No row: no such batch.
BEGIN NOT ATOMIC
  DECLARE known, changed BOOLEAN DEFAULT FALSE;
  DECLARE next_place, was, gone INT DEFAULT 0;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  START TRANSACTION;
  SELECT COUNT(*), MAX(places) INTO known, next_place FROM laraq_job_batches WHERE id = :id AND phase < 2 FOR UPDATE;
  IF known THEN
    SELECT MAX(state) INTO was FROM laraq_batch_jobs WHERE batch_id = :id AND job = :job;
    IF was IS NULL THEN
      INSERT INTO laraq_batch_jobs (batch_id, job, state, load_name, place)
      VALUES (:id, :job, :outcome, '', next_place);
      SET changed = TRUE;
    ELSEIF was NOT IN (1, :outcome) AND NOT (was = 2 AND :outcome = 3) THEN
      UPDATE laraq_batch_jobs SET state = :outcome WHERE batch_id = :id AND job = :job;
      SET changed = TRUE;
    END IF;
    IF :dropped <> '[]' THEN
      UPDATE JSON_TABLE(:dropped, '$[*]' COLUMNS (
        job VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$'
      )) AS never STRAIGHT_JOIN laraq_batch_jobs AS member ON member.batch_id = :id AND member.job = never.job
      SET member.state = 3 WHERE member.state = 0;
      SET gone = ROW_COUNT();
    END IF;
    IF changed OR gone > 0 THEN
      -- Assigned from left to right: `finished_at` sees the counts as they are then.
      UPDATE laraq_job_batches SET
        total = total + (was IS NULL),
        places = places + (was IS NULL),
        done = done + changed * ((:outcome = 1) - (was <=> 1)),
        failed = failed + changed * ((:outcome = 2) - (was <=> 2)),
        dropped = dropped + changed * ((:outcome = 3) - (was <=> 3)) + gone,
        phase = 0,
        cancelled_at = IF(changed AND :outcome = 2 AND NOT allow_failures, COALESCE(cancelled_at, {now}), cancelled_at),
        finished_at = IF(loads = 0 AND total = done + failed + dropped, COALESCE(finished_at, {now}), NULL)
      WHERE id = :id;
    END IF;
  END IF;
  SELECT {tally}, changed FROM laraq_job_batches WHERE id = :id AND known;
  COMMIT;
END
