/** How sizes are written for people. */
export { formatSize } from '../registry/size.ts';
