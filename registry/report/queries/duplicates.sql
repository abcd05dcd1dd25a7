-- The contents that waste most: bytes that go if each were stored once, and in how many layers they lie.
WITH worst AS (
  SELECT file_id, size, copies, wasted FROM repeated ORDER BY wasted DESC, file_id, size LIMIT :limit
),
spread AS (
  SELECT e.file_id, e.size, count(DISTINCT e.layer_id) AS layers
  FROM worst w
  JOIN entries e ON e.file_id = w.file_id AND e.size = w.size
  WHERE e.kind = 'file'
  GROUP BY e.file_id, e.size
),
digests AS (
  SELECT f.file_id, min(lower(hex(f.digest))) AS digest
  FROM (SELECT DISTINCT file_id FROM worst) w
  JOIN files f ON f.file_id = w.file_id
  GROUP BY f.file_id
)
SELECT w.file_id, d.digest, w.size, w.copies, s.layers, w.wasted
FROM worst w
JOIN digests d ON d.file_id = w.file_id
JOIN spread s ON s.file_id = w.file_id AND s.size = w.size
ORDER BY w.wasted DESC, w.file_id, w.size
