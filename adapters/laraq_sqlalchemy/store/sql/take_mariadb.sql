-- Take from several limits, all or none, in one round trip. A race for the last of one breaks the constraint
-- `used <= maximum` (error 4025), which undoes the whole INSERT. The clock is read again under the lock of a row.
BEGIN NOT ATOMIC
  DECLARE granted BOOLEAN;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  DECLARE CONTINUE HANDLER FOR 4025 SET granted = FALSE;
  SET granted = NOT EXISTS (
    SELECT 1 FROM {asked} JOIN laraq_limits AS old ON old.name = asked.name
    WHERE old.ends_at > {now} AND old.used + asked.cost > asked.maximum
  );
  START TRANSACTION;
  IF granted THEN
    -- Assigned from left to right: `used` sees the window before it is replaced.
    INSERT INTO laraq_limits (name, used, maximum, length, ends_at)
    SELECT name, cost, maximum, length, {now} - {now} % length + length FROM {asked} ORDER BY name
    ON DUPLICATE KEY UPDATE
      used = IF(ends_at > (@laraq_now \:= {now}), used, 0) + VALUES(used),
      maximum = VALUES(maximum),
      length = VALUES(length),
      ends_at = IF(ends_at > @laraq_now, ends_at, @laraq_now - @laraq_now % VALUES(length) + VALUES(length));
  END IF;
  SELECT
    granted,
    COALESCE(old.used, 0) AS used,
    COALESCE(old.ends_at, {now} - {now} % asked.length + asked.length) AS ends_at,
    {now} AS now
  FROM {asked} LEFT JOIN laraq_limits AS old ON old.name = asked.name AND old.ends_at > {now} ORDER BY asked.place;
  COMMIT;
END
