/** The program's version. It does not enter what is written: the layer format has numbers of its own. */
export const VERSION = '0.1.0';
