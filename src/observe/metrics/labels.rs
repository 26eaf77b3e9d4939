//! The labels of metrics that have few values, all known when the program is written.

/// A label whose values are all known when the program is written.
pub(super) trait Label: Copy + 'static {
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
    fn index(self) -> usize;
}

/// Declares an enum together with the label value of each variant.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$case_doc])* $case),+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$case),+];
            fn name(self) -> &'static str {
                match self { $(Self::$case => $value),+ }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How an upload ended.
    UploadResult {
        /// The image data is in the store and recorded.
        Stored = "stored",
        /// We said no: wrong type, too large, digest mismatch, conflict.
        Refused = "refused",
        /// The client went away before the end.
        ClientGone = "client_gone",
        /// The client was slower than `rate_bytes_per_sec_min`.
        TooSlow = "too_slow",
        /// A store, the database or we ourselves failed.
        Failed = "failed",
    }
}

label! {
    /// How a download ended.
    DownloadResult {
        /// Every byte asked for was handed to the kernel.
        Sent = "sent",
        /// We said no: not found, no data, a range that can't be satisfied.
        Refused = "refused",
        /// The client went away before the end.
        ClientGone = "client_gone",
        /// The client was slower than `rate_bytes_per_sec_min`.
        TooSlow = "too_slow",
        /// The store failed or gave fewer bytes than the record says.
        Failed = "failed",
    }
}

label! {
    /// A step in the life of an upload.
    Stage {
        /// From `queued` to `saving`.
        Claim = "claim",
        /// From the first byte of the body to the last digest.
        Pour = "pour",
        /// Size, digests and format compared with what was promised.
        Verify = "verify",
        /// Synced and visible under its final name.
        Seal = "seal",
        /// Recorded as `active`.
        Commit = "commit",
    }
}

label! {
    /// How the run of a task ended.
    TaskResult {
        /// What was asked for is done and recorded.
        Success = "success",
        /// It can't be done; the task says why.
        Failure = "failure",
        /// Another server goes on with it, or this one after its next start.
        Left = "left",
    }
}

label! {
    /// What became of the data of a deleted image when a scrubber came by.
    ScrubResult {
        /// It is gone.
        Removed = "removed",
        /// It is in use, or a store fails: the next pass tries again.
        Kept = "kept",
    }
}

label! {
    /// Why a database transaction was run again.
    DbRetry {
        /// Another one was in the way: a deadlock, a lock, a conflict of snapshots.
        Contention = "contention",
        /// The connection was gone.
        ConnectionLost = "connection_lost",
    }
}

label! {
    /// What a store was asked for.
    StoreCall {
        /// A place for a draft.
        Begin = "begin",
        /// To accept a chunk: what an upload waits for the store.
        Write = "write",
        /// To make an object of a draft.
        Seal = "seal",
        /// To place data without moving its bytes.
        Place = "place",
        /// To open data for reading.
        Open = "open",
        /// The next piece of data that comes in pieces.
        Read = "read",
        /// To remove data.
        Delete = "delete",
    }
}

label! {
    /// Why a store failed.
    StoreFailure {
        /// There is no data at the location.
        NotFound = "not_found",
        /// The image has data there already.
        Exists = "exists",
        /// No space or quota left.
        NoSpace = "no_space",
        /// The store refuses us.
        Denied = "denied",
        /// The data is in use.
        InUse = "in_use",
        /// It can't be reached or did not answer in time.
        Unavailable = "unavailable",
        /// It was asked for what it does not do.
        Unfit = "unfit",
        /// Anything else.
        Io = "io",
    }
}

label! {
    /// What came of a token that was to be validated.
    TokenLookup {
        /// Keystone had been asked before.
        Remembered = "remembered",
        /// Keystone knows it.
        Valid = "valid",
        /// Keystone does not.
        Invalid = "invalid",
        /// Keystone could not be asked.
        Unavailable = "unavailable",
    }
}

label! {
    /// What moves body bytes.
    Engine {
        /// io_uring.
        Ring = "ring",
        /// Blocking calls on threads.
        Threads = "threads",
    }
}

label! {
    /// Class of a request's route. Ids never become labels.
    Route {
        /// `PUT v2/images/{id}/file`.
        PutFile = "put_file",
        /// `PUT v2/images/{id}/stage`.
        PutStage = "put_stage",
        /// `GET v2/images/{id}/file`.
        GetFile = "get_file",
        /// `v2/images`: list and create.
        Images = "images",
        /// `v2/images/{id}` and what hangs below it, image data aside.
        Image = "image",
        /// `v2/info/...`.
        Info = "info",
        /// `v2/schemas/...`.
        Schemas = "schemas",
        /// `/` and `/versions`.
        Versions = "versions",
        /// `/healthcheck`.
        Health = "health",
        /// Everything else, unknown paths included.
        Other = "other",
    }
}
