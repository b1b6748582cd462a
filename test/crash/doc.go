// Package crash is the crash matrix: three instances of `comptoir serve` on a
// Kafka of three nodes and a PostgreSQL, and `comptoir up` by itself, are killed,
// stopped, put to sleep, cut off and left without disk space in the middle of
// mixed orders, by Kafka and by HTTP. After each such cell everything that was
// promised must hold, by the word of test/invariants, test/httporders and
// `comptoir audit`. It must import nothing of what it tests.
//
// The servers and instances are shared by the cells of a round, so that each
// cell meets what the ones before it have left. Order of cells, moments and
// orders come from one seed; with an odd one the instances keep copies of each
// other's state (stream.standby_copies: 1). `make crash-short` runs the short matrix, `make crash`
// the long one. The environment says what is run:
//
//	COMPTOIR_TEST_SERVERS    folder of the scripts that start servers (test/servers)
//	COMPTOIR_CRASH_SEED      the seed; without it a new one, which is printed
//	COMPTOIR_CRASH_LONG      not empty: every cell instead of a few telling ones
//	COMPTOIR_CRASH_CELL      these cells, TARGET/FAULT,…, with * and ?, in this order
//	COMPTOIR_CRASH_LOGS      folder for what the instances print; without it only a failure keeps it
//	COMPTOIR_CRASH_HISTORY   file to which results are appended, a JSON object each;
//	                         `make` has crash-history.jsonl, and without make there is none
package crash
