// needs: root, unshare, nsenter, buildah, podman, skopeo, docker-registry, mmdebstrap, dpkg-deb
import { testContainerfile } from './containerfile.conformance.ts';

testContainerfile('trixie').run();
