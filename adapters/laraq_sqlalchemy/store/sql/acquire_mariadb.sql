-- Hold a slot of a lock, in one round trip. Whoever loses the race for one finds it chosen but not held.
BEGIN NOT ATOMIC
  DECLARE chosen INT;
  SET chosen = (
    WITH RECURSIVE slots AS (SELECT 0 AS slot UNION ALL SELECT slot + 1 FROM slots WHERE slot + 1 < :slots)
    SELECT slot FROM (
      SELECT slot, 0 AS place FROM laraq_locks WHERE name = :name AND owner = :owner AND expires_at > {now}
      UNION ALL
      SELECT slot, 1 + RAND() FROM slots
      WHERE slot NOT IN (SELECT slot FROM laraq_locks WHERE name = :name AND expires_at > {now})
      AND (SELECT COUNT(*) FROM laraq_locks WHERE name = :name AND expires_at > {now}) < :slots
    ) AS candidates ORDER BY place LIMIT 1
  );
  IF chosen IS NOT NULL THEN
    -- Assigned from left to right: the end sees whether the owner before it was replaced.
    INSERT INTO laraq_locks (name, slot, owner, expires_at) VALUES (:name, chosen, :owner, {now} + :length)
    ON DUPLICATE KEY UPDATE
      owner = IF(expires_at <= {now} OR owner = :owner, :owner, owner),
      expires_at = IF(owner = :owner, {now} + :length, expires_at);
  END IF;
  SELECT
    chosen IS NOT NULL AS chosen,
    EXISTS (SELECT 1 FROM laraq_locks WHERE name = :name AND slot = chosen AND owner = :owner) AS held;
END
