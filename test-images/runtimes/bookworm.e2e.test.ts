// needs: root, unshare, nsenter, skopeo, python3, umoci, podman, containerd, ctr, dockerd, ostree
import { test } from 'uvu';
import { testMeasured } from './measured.conformance.ts';

await testMeasured('bookworm');
test.run();
