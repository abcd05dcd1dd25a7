-- Where the contents that waste most lie: up to :places paths of each, the most frequent first.
WITH worst AS (
  SELECT file_id, size, copies, wasted FROM repeated ORDER BY wasted DESC, file_id, size LIMIT :limit
),
counted AS (
  SELECT e.file_id, e.size, e.path_id, count(*) AS copies
  FROM entries e
  JOIN worst w ON w.file_id = e.file_id AND w.size = e.size
  WHERE e.kind = 'file'
  GROUP BY e.file_id, e.size, e.path_id
),
ranked AS (
  SELECT file_id, size, path_id, copies, row_number() OVER (PARTITION BY file_id, size ORDER BY copies DESC, path_id) AS place
  FROM counted
),
kept AS (
  SELECT file_id, size, path_id, copies, place FROM ranked WHERE place <= :places
)
SELECT DISTINCT k.file_id, k.size, k.place, k.copies, p.path
FROM kept k
JOIN paths p ON p.path_id = k.path_id
ORDER BY k.file_id, k.size, k.place, p.path
