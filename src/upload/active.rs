//! The uploads that run in this process, so that deleting an image can end its upload.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::ImageId;

/// Running uploads by image. An image has at most one: the claim sees to that.
#[derive(Clone, Debug, Default)]
pub(super) struct ActiveUploads(Arc<Mutex<HashMap<ImageId, Running>>>);

#[derive(Debug)]
struct Running {
    /// Its own handle on the socket, to end the receive; absent when it could not be cloned.
    stream: Option<TcpStream>,
    is_cancelled: Arc<AtomicBool>,
}

/// An upload's entry; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Cancel {
    uploads: ActiveUploads,
    id: ImageId,
    is_cancelled: Arc<AtomicBool>,
}

impl ActiveUploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<ImageId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, id: &ImageId, stream: &TcpStream) -> Cancel {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let running =
            Running { stream: stream.try_clone().ok(), is_cancelled: Arc::clone(&is_cancelled) };
        self.lock().insert(id.clone(), running);
        Cancel { uploads: self.clone(), id: id.clone(), is_cancelled }
    }

    /// Ends the upload of an image at its next receive.
    pub(super) fn cancel(&self, id: &ImageId) {
        if let Some(running) = self.lock().get(id) {
            running.is_cancelled.store(true, Ordering::Release);
            // The client may be gone already.
            let _ = running.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Read));
        }
    }
}

impl Cancel {
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.uploads.lock().remove(&self.id);
    }
}
