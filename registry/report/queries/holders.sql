-- Which layers hold the contents that waste most.
WITH worst AS (
  SELECT file_id, size, copies, wasted FROM repeated ORDER BY wasted DESC, file_id, size LIMIT :limit
)
SELECT e.file_id, e.size, l.diff_id, count(*) AS copies
FROM entries e
JOIN worst w ON w.file_id = e.file_id AND w.size = e.size
JOIN layers l ON l.layer_id = e.layer_id
WHERE e.kind = 'file'
GROUP BY e.file_id, e.size, l.diff_id
ORDER BY e.file_id, e.size, l.diff_id
