// needs: root, unshare, nsenter, skopeo, python3, mmdebstrap, docker-registry
import { test } from 'uvu';
import { testMeasured } from './measured.conformance.ts';

await testMeasured('trixie');
test.run();
