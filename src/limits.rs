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
/// Slots of one upload to Ceph that are being written or wait for their neighbours: a little more
/// than three objects of the usual 8 MiB. More wait in the OSD's queue and add latency.
pub const RBD_SLOTS_IN_FLIGHT_MAX: usize = 26;
/// Slots that become one write while others are in flight. It costs both sides less than a write
/// for each, and the OSD can still work on several writes at once, which whole objects would leave
/// too few of.
pub const RBD_SLOTS_PER_WRITE_MAX: usize = 4;
/// Slots one upload to Ceph may hold, where the operator has set no bound: 30 MiB, so that with
/// everything else that it has it stays within 32 MiB.
pub const SLOTS_PER_RBD_UPLOAD_MAX: usize = 1 // being received into
    + RBD_SLOTS_IN_FLIGHT_MAX // being written
    + LANE_DEPTH; // being hashed
/// Slots that stay resident and registered with the ring.
pub const SLOTS_WARM: usize = 32;
/// All slots of the process. Beyond it no receive is armed and TCP pushes back.
pub const SLOT_ARENA_BYTES: usize = 512 * MIB;

/// Bytes of a file allocated ahead when the size is not known.
pub const ALLOCATE_AHEAD_BYTES: u64 = 256 * MIB as u64;

/// Zeros that are a hole in a thin file, where they start at a multiple of it: what Glance writes
/// at once and so leaves out.
pub const HOLE_BYTES: usize = 64 * KIB;

/// First and longest step by which an rbd image of unknown size grows; each is twice the last.
pub const RBD_GROW_BYTES: (u64, u64) = (8 * MIB as u64, 8192 * MIB as u64);
/// Reads of one download from Ceph in flight, a slot each.
pub const RBD_READS_IN_FLIGHT_MAX: usize = 8;
/// Slots that a reading which is poured into stores may hold beyond an upload's: what is read ahead
/// of the one being filled. An upload into several stores needs no more than into the widest of
/// them, because all of them hold the same last chunks.
pub const SLOTS_READ_AHEAD_MAX: usize = RBD_READS_IN_FLIGHT_MAX - 1;
/// Slots one download may hold: what is read ahead and what is being sent.
pub const SLOTS_PER_DOWNLOAD_MAX: usize = RBD_READS_IN_FLIGHT_MAX + 1;
/// All slots of downloads that are read piece by piece. They are apart from the uploads', so that
/// slow readers can't hold up writers.
pub const READ_ARENA_BYTES: usize = 256 * MIB;
/// How long a cluster may take to answer a newcomer, where neither Ceph's configuration nor
/// `rados_connect_timeout` says.
pub const RADOS_CONNECT_WAIT: Duration = Duration::from_secs(30);
/// How long one operation on objects may take, with the same exceptions: an OSD that has died is
/// replaced in less, as a rule.
pub const RADOS_OPERATION_WAIT: Duration = Duration::from_secs(60);
/// Operations after each other that a write, or another call of librbd's, may take so long for: a
/// write that can't note its object in the map tries that, marks the map as wrong, and gives its
/// lock back. What takes longer than all of them is given up.
pub const RADOS_OPERATIONS_PER_CALL: u32 = 6;
/// How long the cluster stays deaf to a client of ours that was killed. Its watches, which are why,
/// end by themselves after half of it.
pub const BLOCKLIST_EXPIRY: Duration = Duration::from_secs(60);
/// How long an upload that failed waits for what it wrote to be removed from Ceph or S3, before
/// it is answered and the removal goes on by itself.
pub const DISCARD_WAIT: Duration = Duration::from_secs(5);
/// First and longest pause between two tries of such a removal.
pub const REMOVAL_PAUSES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));

/// How long a start waits for the undoing of what the process before it has left; the rest is undone
/// while it serves.
pub const SWEEP_WAIT: Duration = Duration::from_secs(10);
/// Uploads of that process that are undone at once.
pub const SWEPT_AT_ONCE_MAX: usize = 8;

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

/// Bytes of answers that wait for a client that pipelines requests and does not read.
pub const ANSWERS_BUFFERED_BYTES_MAX: usize = 256 * KIB;

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

/// Time to resolve, connect and pass a proxy, for each connection to another server.
pub const CLIENT_CONNECT_WAIT: Duration = Duration::from_secs(20);
/// Time in which another server has to take or give something.
pub const CLIENT_STALL: Duration = Duration::from_secs(60);
/// How long a connection to another server is kept idle: less than servers keep theirs, so that a
/// request rarely meets one that is just being closed.
pub const CLIENT_IDLE_CONNECTION: Duration = Duration::from_secs(15);
/// Idle connections kept to one server.
pub const CLIENT_CONNECTIONS_IDLE_MAX: usize = 32;
/// A piece of a body handed to the connection at once: a slow server still shows that it moves.
pub const CLIENT_PIECE_BYTES: usize = 256 * KIB;

/// A token that Keystone is asked about. Its own are at most 255 bytes, those of old ones 8 KiB.
pub const AUTH_TOKEN_BYTES_MAX: usize = 8 * KIB;
/// An answer of Keystone: a token with a large catalog.
pub const AUTH_ANSWER_BYTES_MAX: usize = MIB;
/// Tokens that are remembered, and about the memory they may take. The oldest go first.
pub const AUTH_TOKENS_MAX: usize = 10_000;
/// See [`AUTH_TOKENS_MAX`].
pub const AUTH_CACHE_BYTES_MAX: usize = 32 * MIB;
/// How long before its end our own token is renewed.
pub const AUTH_RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Time to connect to Keystone, where `http_connect_timeout` does not say.
pub const AUTH_CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Time for Keystone to answer, where `http_connect_timeout` does not say.
pub const AUTH_STALL: Duration = Duration::from_secs(30);
/// First and longest pause before Keystone is asked again.
pub const AUTH_RETRY_PAUSES: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(10));

/// How long it is remembered whose limits in Keystone are this service's. Limits themselves are
/// asked for with every check.
pub const AUTH_LIMITS_PLACE_REMEMBERED: Duration = Duration::from_secs(300);

/// Slots that a part of an S3 upload is held in until it is whole. Longer parts, of images that are
/// so large that 10000 parts of this length do not hold them, are sent as they come.
pub const S3_PART_HELD_SLOTS_MAX: usize = 12;
/// Parts of one S3 upload in flight, where the operator allows so many. Their slots are the bound.
pub const S3_PARTS_IN_FLIGHT_MAX: usize = 4;
/// Slots one upload to S3 may hold, all of them its own from the first byte on: 28 MiB. An upload
/// that held a part and waited for the slots of another could wait for ever.
pub const SLOTS_PER_S3_UPLOAD_MAX: usize = 1 // being received into
    + S3_PART_HELD_SLOTS_MAX // of the part that is being collected
    + S3_PART_HELD_SLOTS_MAX // of parts being sent
    + LANE_DEPTH; // being hashed
/// Parts of one S3 upload, which is S3's bound.
pub const S3_PARTS_MAX: u64 = 10_000;
/// Least length of every part but the last, which is S3's bound too.
pub const S3_PART_BYTES_MIN: u64 = 5 * MIB as u64;
/// How long a signed request is good for: it is sent at once, clocks differ.
pub const S3_SIGNATURE_LIFE: Duration = Duration::from_secs(900);
/// Times a request to S3 is made while it fails in passing, with these pauses between them.
pub const S3_RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// An answer of S3 that is a document. Lists of uploads are asked for a key at a time.
pub const S3_DOCUMENT_BYTES_MAX: usize = 4 * MIB;
/// Slots that one upload's connection to S3 takes ahead of what it has sent.
pub const S3_STREAM_AHEAD_SLOTS: usize = 2;

/// The beginning of an image by which its format is known, and a step of looking further. It is
/// what Glance reads at once, and so what its inspector judges by.
pub const INSPECT_WINDOW_BYTES: usize = 64 * KIB;
/// The descriptor of a VMDK, which is text of some hundred bytes; a longer one is refused.
pub const INSPECT_DESCRIPTOR_BYTES_MAX: usize = 768 * KIB;

/// qemu-img: CPU time and time to tell about an image, and memory, as Glance bounds them.
pub const QEMU_INFO_CPU_SECS: u64 = 2;
/// See [`QEMU_INFO_CPU_SECS`].
pub const QEMU_INFO_WAIT: Duration = Duration::from_secs(60);
/// See [`QEMU_INFO_CPU_SECS`]. A conversion needs no more.
pub const QEMU_MEMORY_BYTES: u64 = 1024 * MIB as u64;
/// What a program of others may print, and what it may complain about.
pub const CHILD_PRINTED_BYTES_MAX: u64 = MIB as u64;
/// How often work that goes on elsewhere looks whether anybody still wants it.
pub const STOP_LOOK: Duration = Duration::from_millis(100);
/// An operator's own check of images: how long it may take (`external_command_timeout_secs`).
pub const EXTERNAL_COMMAND_WAIT: Duration = Duration::from_secs(600);
/// And the memory of each of its processes (`external_command_memory_bytes`): the signatures of a
/// virus scanner take more than a GiB.
pub const EXTERNAL_COMMAND_MEMORY_BYTES: u64 = 4096 * MIB as u64;
/// And what it may write to one file, of which it may need some while it looks into an image.
pub const EXTERNAL_COMMAND_WRITTEN_BYTES: u64 = 1024 * MIB as u64;
/// Letters of its reason that are passed on to users.
pub const EXTERNAL_REASON_CHARS_MAX: usize = 1000;
/// A conversion may take as long as its disk is worth at the rate, and the grace besides; unpacking
/// as long as what is read and what comes out are worth.
pub const CONVERT_GRACE: Duration = Duration::from_secs(60);
/// See [`CONVERT_GRACE`].
pub const CONVERT_RATE_BYTES_PER_SEC_MIN: u64 = 4 * MIB as u64;

/// Free space of the staging area that unpacking and conversions leave to others; a small file
/// system keeps a sixteenth.
pub const STAGING_KEPT_BYTES_MAX: u64 = 256 * MIB as u64;
/// Archives: memory that the dictionary of one may take. `xz -9` asks for 64 MiB, `zstd --ultra`
/// for 128 at its level 22; with the default of ten imports at a time they are 1.3 GiB at most.
pub const UNPACK_DICTIONARY_BYTES_MAX: u64 = 128 * MIB as u64;
/// Skippable frames that are passed over to find out whether a file is a Zstandard archive: `pzstd`
/// writes one, and each costs a reading.
pub const ZSTD_FRAMES_SKIPPED_MAX: usize = 64;
/// Slots that are filled ahead of whoever writes what comes out of an archive.
pub const UNPACK_AHEAD_SLOTS: usize = 2;
/// How much comes out of an archive between two looks at the free space.
pub const UNPACK_LOOK_BYTES: u64 = 16 * MIB as u64;

/// Redirects that a web location may take (`HT-01`).
pub const HTTP_REDIRECTS_MAX: usize = 5;
/// Redirects that an address to import from may take, each of which is judged.
pub const FETCH_REDIRECTS_MAX: usize = 10;
/// Pauses before a download is taken up again; the last one repeats.
pub const FETCH_RETRY_PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
/// Slots that a download from the web or from S3 is read ahead, within its share.
pub const WEB_READ_AHEAD_SLOTS: usize = 4;

/// Connections to the admin listener: a few scrapers and people. More wait in the backlog.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Time for one exchange on the admin listener, from accept to the last byte of the answer.
/// Prometheus gives up after 10 s by default.
pub const ADMIN_EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause of a listener that can't accept, mostly for want of descriptors.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// `glissade bench`: silence on a socket after which a run is given up. A seal may sync gigabytes
/// on a slow disk.
pub const BENCH_SOCKET_TIMEOUT: Duration = Duration::from_secs(300);
/// `glissade bench`: time for a child to say where it serves.
pub const BENCH_START_TIMEOUT: Duration = Duration::from_secs(30);
/// `glissade bench`: time for a child to end after SIGTERM, before SIGKILL.
pub const BENCH_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// `glissade bench`: uploads at the same time, a thread of the client each.
pub const BENCH_STREAMS_MAX: i64 = 1024;
/// `glissade bench import`: between two lines that say how far the staging is.
pub const BENCH_TELL: Duration = Duration::from_secs(10);
/// `glissade bench`: rounds of one run.
pub const BENCH_ROUNDS_MAX: i64 = 100;

/// `glissade check`: how long others may take to answer. Ceph gives up after 30 s.
pub const CHECK_WAIT: Duration = Duration::from_secs(35);
/// `glissade check`: open files below which somebody should know: [`BACKLOG`] connections.
pub const CHECK_FILES_MIN: u64 = 4096;

/// How long the database waits for another's lock before it reports it.
pub const DB_LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long a change is begun again and again while others are in the way: 25 s in all, as Glance's
/// 50 times 0.5 s, however long each of them waits.
pub const DB_RETRY_TIME: Duration = Duration::from_secs(25);
/// And how often.
pub const DB_RETRIES_MAX: u32 = 50;
/// Pauses before that, from this
pub const DB_RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
/// to this, each twice the one before. They sum up to 23 s for 50 of them.
pub const DB_RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause before a lost connection is tried again for the second time; the first is at once, since
/// it is often an old connection that a restarted server knows no more.
pub const DB_RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Connections that go from hand to hand without coming back to the driver's pool in between,
pub const DB_AT_HAND_MAX: usize = 4;
/// each for so long: a connection that nobody has looked at since is asked whether it still works.
pub const DB_PROBE_AFTER: Duration = Duration::from_secs(1);
/// A connection that nobody has used for so long is closed.
pub const DB_CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// Statements for single images under way at the same time. Who comes meanwhile shares the next one,
/// whose rows cost a quarter of what it costs itself: one connection serves 10,000 images a second.
pub const DB_GETS_AT_ONCE: usize = 1;
/// Images that one of them asks for, and
pub const DB_GETS_TOGETHER_MAX: usize = 32;
/// how long anybody waits for it before they ask alone.
pub const DB_GET_WAIT: Duration = Duration::from_millis(100);

/// How often a server says that it works on its tasks: with [`TASK_LEASE`], five chances.
pub const TASK_BEAT: Duration = Duration::from_secs(5);
/// A task whose server has not been heard of for so long is another's to go on with. A server that
/// can't reach the database for so long stops its work.
pub const TASK_LEASE: Duration = Duration::from_secs(30);
/// Pause before image data that can't be read is read again.
pub const HASH_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a delete waits until nobody of this process reads the image's data any more.
pub const TASK_STOP_WAIT: Duration = Duration::from_secs(30);
/// How often a server looks for tasks of servers that have died.
pub const TASK_SWEEP: Duration = Duration::from_secs(10);
/// How often a task is begun in one process before it is given up: one that a program error ends is
/// not to be begun for ever.
pub const TASK_TRIES_MAX: u32 = 3;
/// Pauses while the end of a task can't be recorded, from the first to the longest.
pub const TASK_RECORD_PAUSES: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(5));
/// How long a lock counts whose task another kind of server runs, by Glance's rules: since the task
/// was last heard of, and twice as long while it waits.
pub const FOREIGN_LOCK_LIFE: Duration = Duration::from_secs(3600);

/// Images that a scrubber asks the database for at once.
pub const SCRUB_PAGE: u32 = 500;
/// Images in a row of which their store does not answer, before a pass of a scrubber leaves the
/// others in that store to the next pass: three waits of a minute for a cluster that is down, and
/// not one for each of a thousand images.
pub const SCRUB_SILENT_MAX: u32 = 3;
/// How long the data of a deleted image is left to whoever has begun to remove it, before another
/// scrubber tries. Two that try at once only waste the work of one.
pub const SCRUB_LEASE: Duration = Duration::from_secs(120);

/// How often staging is looked through for files that nobody needs, where `staging_sweep_secs` does
/// not say.
pub const STAGING_SWEEP: Duration = Duration::from_secs(600);
/// Age below which a staged file is left alone, whatever its record says: another server, or
/// another's record of it, may be a moment behind. Glance's own locks count for as long.
pub const STAGING_GRACE: Duration = Duration::from_secs(3600);
/// Images whose files one look through staging asks the database about, so that it stays short; the
/// next goes on from there.
pub const STAGING_SWEEP_IMAGES_MAX: usize = 1000;

/// Time for the janitor to undo what a drain has cut; the rest is found at the next start.
pub const JANITOR_GRACE: Duration = Duration::from_secs(10);
/// Time for calls that wait for a disk or a cluster, when everything else of the server has ended.
pub const BLOCKING_GRACE: Duration = Duration::from_secs(20);
/// Blocking threads: without io_uring one for each upload, else a few for disks and downloads.
pub const BLOCKING_THREADS_MAX: usize = 1024;
/// Connections of scrapers that wait to be accepted.
pub const ADMIN_BACKLOG: u32 = 64;

/// Bytes handed to one `sendfile` call.
pub const SENDFILE_BYTES: usize = MIB;
/// Bytes sent on one visit to a blocking thread before others get their turn.
pub const SENDFILE_TURN_BYTES: usize = 8 * MIB;

/// How long a worker hashes before it looks for other streams, which is what a new job waits at
/// most while every lane is busy. By the rates of the kernels this is 12 KiB of each of eight
/// streams with AVX-512 and 5 KiB with AVX2 (`glissade bench lanes` shows the times here).
pub const LANE_SLICE_NANOS: usize = 60_000;
/// Most bytes of one stream in a slice: more saves nothing.
pub const LANE_SLICE_BYTES_MAX: usize = 16 * KIB;

/// An answer of another server that a policy asks: it says yes or no.
pub const POLICY_ANSWER_BYTES_MAX: usize = 64 * KIB;
/// How deep checks of a policy may be nested, and how many rules may lead to each other. Both
/// together bound the stack that a question takes: 64 x 64 frames of some 100 bytes.
pub const POLICY_DEPTH_MAX: usize = 64;
/// How often policy files are looked at for changes, at most.
pub const POLICY_LOOK_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(SLOT_BYTES.is_multiple_of(SLOT_ALIGN_BYTES));
const _: () = assert!(SLOTS_PER_UPLOAD_MAX * SLOT_BYTES <= 8 * MIB);
const _: () = assert!(SLOTS_PER_RBD_UPLOAD_MAX * SLOT_BYTES <= 32 * MIB);
const _: () = assert!((SLOTS_PER_RBD_UPLOAD_MAX + SLOTS_READ_AHEAD_MAX) * SLOT_BYTES <= 40 * MIB);

const _: () = assert!(SLOTS_PER_S3_UPLOAD_MAX * SLOT_BYTES <= 32 * MIB);
// Late parts of an image of unknown size are twice as long, and fit all the same.
const _: () = assert!(2 * S3_PART_HELD_SLOTS_MAX < SLOTS_PER_S3_UPLOAD_MAX);
const _: () = assert!(HOLE_BYTES.is_multiple_of(SLOT_ALIGN_BYTES));
// The window, three regions of that length and the piece at hand, or the window and a descriptor.
const _: () = assert!(INSPECT_WINDOW_BYTES + INSPECT_DESCRIPTOR_BYTES_MAX < MIB);
const _: () = assert!(5 * INSPECT_WINDOW_BYTES < MIB);
const _: () = assert!(SLOTS_WARM * SLOT_BYTES <= SLOT_ARENA_BYTES);
