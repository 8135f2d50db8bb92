-- Hold a slot of a lock. Whoever loses the race for one finds it chosen but not held, and tries again.
WITH live AS MATERIALIZED (
  SELECT slot, owner FROM laraq_locks WHERE name = :name AND expires_at > {now}
), chosen AS MATERIALIZED (
  SELECT slot, 0 AS rank FROM live WHERE owner = :owner
  UNION ALL
  SELECT slot, 1 + random() FROM generate_series(0, CAST(:slots AS int) - 1) AS slot
  WHERE slot NOT IN (SELECT slot FROM live) AND (SELECT count(*) FROM live) < CAST(:slots AS int)
  ORDER BY rank LIMIT 1
), held AS (
  INSERT INTO laraq_locks AS lock (name, slot, owner, expires_at)
  SELECT CAST(:name AS varchar), slot, CAST(:owner AS varchar), {now} + CAST(:length AS bigint) FROM chosen
  ON CONFLICT (name, slot) DO UPDATE SET owner = excluded.owner, expires_at = {now} + CAST(:length AS bigint)
  WHERE lock.expires_at <= {now} OR lock.owner = excluded.owner
  RETURNING slot
)
SELECT (SELECT count(*) FROM chosen) AS chosen, (SELECT count(*) FROM held) AS held
