-- The Lorenz curve of waste: contents by how much they waste, in classes of an eighth of an octave (the number's length in bits and
-- its three bits after the first), most wasteful first. Sums over classes are exact, and need no sort of all contents.
WITH waste AS (
  SELECT (copies - 1) * size AS wasted FROM contents
),
classes AS (
  SELECT length(bin(wasted)) AS bits, substr(bin(wasted), 2, 3) AS more, count(*) AS contents, sum(wasted) AS wasted,
    min(wasted) AS least, max(wasted) AS most
  FROM waste
  GROUP BY length(bin(wasted)), substr(bin(wasted), 2, 3)
)
SELECT contents, wasted, least, most
FROM classes
ORDER BY most DESC
