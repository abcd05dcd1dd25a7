-- Proves that no two contents, paths, sets of xattrs or layers have one id by chance: there must be no row. A table of contents that claims a
-- wrong size for a content of others shows here, too.
SELECT 'file' AS kind, file_id AS id FROM (SELECT DISTINCT file_id, digest FROM files) f GROUP BY file_id HAVING count(*) > 1
UNION ALL
SELECT 'path' AS kind, path_id AS id FROM (SELECT DISTINCT path_id, path FROM paths) p GROUP BY path_id HAVING count(*) > 1
UNION ALL
SELECT 'xattrs' AS kind, xattrs_id AS id FROM (SELECT DISTINCT xattrs_id, name, value FROM xattrs) x
GROUP BY xattrs_id, name HAVING count(*) > 1
UNION ALL
SELECT 'layer' AS kind, layer_id AS id FROM layers GROUP BY layer_id HAVING count(*) > 1
UNION ALL
SELECT 'content' AS kind, file_id AS id FROM entries WHERE file_id IS NOT NULL AND kind = 'file'
GROUP BY file_id HAVING min(size) <> max(size)
ORDER BY kind, id
