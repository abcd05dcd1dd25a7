-- Layers whose trees are equal but whose tars are not: the same names and contents, packed again. `same_metadata` says whether modes,
-- owners, times and xattrs are equal too, so that only the order or the form of the archive differs. Layers without entries are none.
WITH trees AS (
  SELECT tree_id, count(DISTINCT diff_id) AS tars, count(DISTINCT metadata_id) AS kinds
  FROM layers
  WHERE entries > 0
  GROUP BY tree_id
  HAVING count(DISTINCT diff_id) > 1
)
SELECT t.tree_id, l.diff_id, l.metadata_id, l.entries, t.kinds = 1 AS same_metadata
FROM trees t
JOIN layers l ON l.tree_id = t.tree_id
WHERE l.entries > 0
ORDER BY t.tree_id, l.diff_id
