-- Take from several limits, all or none. A race for the last of one breaks the constraint `used <= maximum`, which
-- undoes the whole statement; tried again, it sees what the winner took. The clock is read again under the lock of a
-- row. Commits do not wait for the disk: only a crash of the server forgets what was taken in its last moment.
WITH asked AS MATERIALIZED (
  SELECT demand.* FROM jsonb_to_recordset(CAST(:demands AS jsonb))
  AS demand(place int, name varchar, maximum bigint, length bigint, cost bigint)
  WHERE set_config('synchronous_commit', 'off', true) = 'off'
), clock AS MATERIALIZED (
  SELECT {now} AS now
), seen AS MATERIALIZED (
  SELECT asked.*, now, COALESCE(used, 0) AS used, COALESCE(ends_at, now - now % asked.length + asked.length) AS ends_at
  FROM asked CROSS JOIN clock LEFT JOIN laraq_limits AS old ON old.name = asked.name AND old.ends_at > now
), taken AS (
  INSERT INTO laraq_limits AS old (name, used, maximum, length, ends_at)
  SELECT name, cost, maximum, length, ends_at FROM seen
  WHERE NOT EXISTS (SELECT FROM seen WHERE used + cost > maximum)
  ORDER BY name
  ON CONFLICT (name) DO UPDATE SET (used, maximum, length, ends_at) = (
    SELECT
      CASE WHEN old.ends_at > now THEN old.used ELSE 0 END + excluded.used,
      excluded.maximum,
      excluded.length,
      CASE WHEN old.ends_at > now THEN old.ends_at ELSE now - now % excluded.length + excluded.length END
    FROM (SELECT {now} AS now OFFSET 0) AS clock
  )
  RETURNING name, used
)
SELECT taken.name IS NOT NULL AS granted, COALESCE(taken.used, seen.used) AS used, ends_at, now
FROM seen LEFT JOIN taken ON taken.name = seen.name ORDER BY place
