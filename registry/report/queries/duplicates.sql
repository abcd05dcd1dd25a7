-- The contents that waste most: bytes that go if each were stored once, and where they lie. Empty files waste nothing.
WITH worst AS (
  SELECT file_id, max(size) AS size, count(*) AS copies, count(DISTINCT layer_id) AS layers, (count(*) - 1) * max(size) AS wasted
  FROM entries
  WHERE kind = 'file' AND size > 0
  GROUP BY file_id
  HAVING count(*) > 1
  ORDER BY wasted DESC, file_id
  LIMIT :limit
),
digests AS (
  SELECT DISTINCT f.file_id, lower(hex(f.digest)) AS digest
  FROM files f
  JOIN worst w ON w.file_id = f.file_id
)
SELECT w.file_id, d.digest, w.size, w.copies, w.layers, w.wasted
FROM worst w
JOIN digests d ON d.file_id = w.file_id
ORDER BY w.wasted DESC, w.file_id
