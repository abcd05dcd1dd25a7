import assert from 'node:assert/strict';
import { test } from 'uvu';
import { describeLosses } from './losses.ts';

const config = { os: 'linux', config: { Cmd: ['sh'], Labels: { a: 'b' }, StopSignal: 'SIGINT' } };

test('an image with nothing special loses nothing', () => {
  assert.deepEqual(describeLosses({ config, annotations: {} }), []);
  const empty = {
    ...config,
    config: { ...config.config, Healthcheck: null, OnBuild: [], ArgsEscaped: false },
  };
  assert.deepEqual(describeLosses({ config: empty, annotations: {} }), []);
});

test('fields that image-spec does not know, triggers and annotations are named', () => {
  const settings = { ...config.config, Shell: ['bash'], OnBuild: ['RUN true'] };
  const losses = describeLosses({
    config: { ...config, 'org.example': 1, config: settings },
    annotations: { 'org.example.a': '1', 'org.example.b': '2' },
  });
  assert.deepEqual(losses, [
    'FROM oci: runs the triggers of ONBUILD, and the image then has none',
    'instructions after FROM oci: drop org.example, Shell; state them there again, or have none',
    'docker’s format has no annotations (org.example.a, org.example.b); --annotations-to-labels writes them as labels too',
  ]);
});

test.run();
