#!/usr/bin/env python3
"""Runs the queries of a report on Apache Spark: the same SQL files over the same Parquet as the embedded engine.

    spark-submit --master spark://HOST:7077 run.py INDEX QUERY[:NAME=VALUE,...]...

INDEX is a directory that `rechunk report index` wrote, on a file system that all workers see. A QUERY is the name of a file in
../queries; its parameters are whole numbers where they look like some, else text. For each query a line of JSON is printed: its
name and its rows, binary values as hex, numbers from 2^53 on as text. Without a QUERY, those without parameters are run.
"""
import glob
import json
import os
import re
import sys

from pyspark.sql import SparkSession

QUERIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'queries')
PARTITIONED = ('entries', 'files', 'paths')
OF_LAYERS = ('layers', 'entries')
SINGLE = ('layers', 'xattrs', 'documents', 'digests')
TARGETS = {'tags': 'tags', 'images': 'images', 'image_layers': 'named_image_layers', 'blobs': 'named_blobs'}
VERSION = 2


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def make_views(spark, index):
    """The tables as `reader.ts` makes them."""
    parts = sorted(glob.glob(os.path.join(index, f'parts-{VERSION}', '*')))
    if not parts:
        sys.exit(f'{index}: no index')
    for table in PARTITIONED + SINGLE:
        below = 'prefix=*/part.parquet' if table in PARTITIONED else 'part.parquet'
        files = [os.path.join(part, table, below) for part in parts]
        name = f'indexed_{table}' if table in OF_LAYERS else table
        spark.read.parquet(*files).createOrReplaceTempView(name)
    for table, name in TARGETS.items():
        files = os.path.join(index, f'targets-{VERSION}', '*', f'{table}.parquet')
        spark.read.parquet(files).distinct().createOrReplaceTempView(name)
    make_all(spark, 'tables')
    # Nearly always nothing is left out, and then all rows need not be asked for their layers.
    unread = spark.sql('SELECT layer_id FROM indexed_layers EXCEPT SELECT layer_id FROM layers').count()
    entries = spark.table('indexed_entries')
    if unread:
        entries = entries.join(spark.table('layers').select('layer_id'), 'layer_id', 'left_semi')
    entries.createOrReplaceTempView('entries')


def make_all(spark, folder):
    for view in sorted(glob.glob(os.path.join(QUERIES, folder, '*.sql'))):
        name = re.sub(r'^\d+-|\.sql$', '', os.path.basename(view))
        spark.sql(read(view)).createOrReplaceTempView(name)


def choose(spark, images):
    """Makes `visible` a view of these images, by digest; of all where there is none."""
    chosen = spark.table('images').select('image_id', 'digest')
    if images:
        chosen = chosen.where(chosen.digest.isin(images))
    chosen.select('image_id').createOrReplaceTempView('chosen')
    # The reader of the embedded engine leaves out the parts that hold none of their layers.
    spark.table('entries').createOrReplaceTempView('held')
    spark.catalog.clearCache()
    make_all(spark, 'views')
    spark.table('visible').cache()


def parameter(text):
    name, _, value = text.partition('=')
    return name, int(value) if re.fullmatch(r'-?\d{1,18}', value) else value


def cell(value):
    # Whoever reads JSON as doubles would lose an id's last digits.
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    return bytes(value).hex() if isinstance(value, (bytes, bytearray)) else value


def parse(word):
    """A query's name, its text, its parameters, and the images that these name."""
    name, _, given = word.partition(':')
    args = dict(parameter(one) for one in given.split(',') if one)
    text = read(os.path.join(QUERIES, f'{name}.sql'))
    return name, text, args, [args[one] for one in ('image', 'from', 'to') if f':{one}' in text]


def run(spark, name, text, args):
    rows = spark.sql(text, args=args)
    columns = rows.columns
    found = [{column: cell(value) for column, value in zip(columns, row)} for row in rows.collect()]
    print(json.dumps({'query': name, 'rows': found}), flush=True)


def main():
    index, *words = sys.argv[1:]
    spark = SparkSession.builder.appName('rechunk report').getOrCreate()
    spark.sparkContext.setLogLevel('ERROR')
    make_views(spark, os.path.abspath(index))
    if not words:
        names = sorted(glob.glob(os.path.join(QUERIES, '*.sql')))
        words = [os.path.basename(name)[:-4] for name in names if not re.search(r'(?<!:):[a-z]', read(name))]
    # Queries of the same images one after the other, so that what these show is told once.
    chosen = None
    for name, text, args, images in sorted(map(parse, words), key=lambda query: query[3]):
        if images != chosen:
            choose(spark, images)
            chosen = images
        run(spark, name, text, args)
    spark.stop()


main()
