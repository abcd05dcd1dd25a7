-- What the layers hold: files as they are stored, and each content once. A hard link stores nothing.
SELECT count(*) AS files, sum(size) AS bytes, count(DISTINCT layer_id) AS layers,
  (SELECT count(*) FROM (SELECT file_id FROM entries WHERE kind = 'file' GROUP BY file_id) c) AS contents,
  (SELECT sum(size) FROM (SELECT file_id, max(size) AS size FROM entries WHERE kind = 'file' GROUP BY file_id) c) AS content_bytes
FROM entries
WHERE kind = 'file'
