//! Every bound of the program, once, as a commented sum.
//!
//! A queue, pool or deadline that is not listed here is a bug. Where an operator may move a bound
//! it is an option of `[glissade]` and the figure here is its default.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

/// Alignment that every slot keeps: the page size, which satisfies any `STATX_DIOALIGN`.
pub const SLOT_ALIGN_BYTES: usize = 4 * KIB;
/// A slot. Larger ones save little CPU and cost memory for each slow upload.
pub const SLOT_BYTES: usize = MIB;

/// Writes of one upload in flight. More on an extending ext4 file only queue on its inode lock.
pub const WRITES_IN_FLIGHT_MAX: usize = 2;
/// Chunks of one stream that wait for or are inside a lane.
pub const LANE_DEPTH: usize = 3;
/// Slots one upload may hold: the sum of where a slot can be. 6 MiB, under the 8 MiB budget.
pub const SLOTS_PER_UPLOAD_MAX: usize = 1 // being received into
    + WRITES_IN_FLIGHT_MAX // being written
    + LANE_DEPTH; // being hashed
/// Slots that stay resident and registered with the ring.
pub const SLOTS_WARM: usize = 32;
/// All slots of the process. Beyond it no receive is armed and TCP pushes back.
pub const SLOT_ARENA_BYTES: usize = 512 * MIB;

/// Bytes of a file allocated ahead when the size is not known.
pub const ALLOCATE_AHEAD_BYTES: u64 = 256 * MIB as u64;

/// A request's head: method, target and header fields.
pub const HEAD_BYTES_MAX: usize = 64 * KIB;
/// Header fields in one head.
pub const HEADERS_MAX: usize = 128;
/// What the gate reads at once while it looks for the end of a head.
pub const HEAD_READ_BYTES: usize = 8 * KIB;
/// A JSON body. Glance's largest legal record (128 properties and tags) is far below.
pub const JSON_BYTES_MAX: usize = MIB;
/// One line of chunked framing: a chunk's size with its extensions, or one trailer field.
pub const CHUNK_LINE_BYTES_MAX: usize = 4 * KIB;
/// All trailer fields of a chunked body.
pub const TRAILER_BYTES_MAX: usize = 16 * KIB;

/// Connections that wait in the kernel to be accepted (`backlog`).
pub const BACKLOG: u32 = 4096;
/// Time for a client to send a whole head, and for an idle connection to send the next.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Time without which no transfer is judged slow.
pub const STALL_GRACE: Duration = Duration::from_secs(30);
/// Slowest transfer that is kept: 8 KiB/s.
pub const RATE_BYTES_PER_SEC_MIN: u64 = 8 * KIB as u64;
/// After a refusal, how long the rest of a body is read and thrown away, so that the client can
/// read the answer before the connection ends.
pub const LINGER: Duration = Duration::from_secs(30);
/// Rest of a refused body that is drained to keep the connection.
pub const DRAIN_BYTES_MAX: u64 = 256 * KIB as u64;
/// Time for transfers to finish after SIGTERM.
pub const DRAIN_GRACE: Duration = Duration::from_secs(60);

/// How long the database waits for another process's lock before it reports it.
pub const DB_LOCK_WAIT: Duration = Duration::from_secs(5);
/// Times a change is begun while the lock is held: 25 s in all, as Glance's 50 times 0.5 s.
pub const DB_LOCK_TRIES: u32 = 5;
/// Pause between them, for the locks that the database reports without waiting.
pub const DB_LOCK_PAUSE: Duration = Duration::from_millis(100);
/// How long a request waits for a free connection to the database.
pub const DB_CONNECTION_WAIT: Duration = Duration::from_secs(30);

/// Bytes handed to one `sendfile` call.
pub const SENDFILE_BYTES: usize = MIB;
/// Bytes sent on one visit to a blocking thread before others get their turn.
pub const SENDFILE_TURN_BYTES: usize = 8 * MIB;

/// Bytes a lane hashes before it looks for other streams: about 30 us.
pub const LANE_SLICE_BYTES: usize = 16 * KIB;

const _: () = assert!(SLOT_BYTES.is_multiple_of(SLOT_ALIGN_BYTES));
const _: () = assert!(SLOTS_PER_UPLOAD_MAX * SLOT_BYTES <= 8 * MIB);
const _: () = assert!(SLOT_BYTES.is_multiple_of(LANE_SLICE_BYTES));
const _: () = assert!(SLOTS_WARM * SLOT_BYTES <= SLOT_ARENA_BYTES);
