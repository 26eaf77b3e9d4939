//! OpenSSL's MD5 and SHA-512, opened at run time: what `glissade bench lanes` compares with, and
//! nothing else. The program links no OpenSSL and hashes no image with it.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use libloading::Library;

use super::{Digest, collect};
use crate::image::{Digests, HashAlgo};
use crate::limits::KIB;

/// The interface used has not changed since 1.1.0.
const LIBRARIES: [&str; 2] = ["libcrypto.so.3", "libcrypto.so.1.1"];
/// As glance_store reads: one hash, then the other, over this many bytes.
const STEP_BYTES: usize = 64 * KIB;

type Algorithm = unsafe extern "C" fn() -> *const c_void;
type New = unsafe extern "C" fn() -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Init = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> c_int;
type Update = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int;
type Final = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int;

/// libcrypto's digests.
#[derive(Debug)]
pub struct OpenSsl {
    name: &'static str,
    md5: Algorithm,
    sha512: Algorithm,
    new: New,
    free: Free,
    init: Init,
    update: Update,
    end: Final,
    /// Last, so that the functions go before what they are in.
    _library: Library,
}

/// A digest under way.
struct Context<'a> {
    openssl: &'a OpenSsl,
    context: *mut c_void,
}

impl OpenSsl {
    /// The newest libcrypto of this host that has both digests: one that follows FIPS has no MD5.
    #[must_use]
    pub fn load() -> Option<Self> {
        LIBRARIES.into_iter().filter_map(Self::open).find(|openssl| {
            let abc = openssl.digests(b"abc");
            abc.is_some_and(|digests| digests == super::tier::abc(HashAlgo::Sha512))
        })
    }

    /// Its file's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn open(name: &'static str) -> Option<Self> {
        // SAFETY: `new` needs a library whose initialisers may be run on any thread; libcrypto's may.
        let library = unsafe { Library::new(name) }.ok()?;
        Some(Self {
            name,
            md5: function(&library, "EVP_md5")?,
            sha512: function(&library, "EVP_sha512")?,
            new: function(&library, "EVP_MD_CTX_new")?,
            free: function(&library, "EVP_MD_CTX_free")?,
            init: function(&library, "EVP_DigestInit_ex")?,
            update: function(&library, "EVP_DigestUpdate")?,
            end: function(&library, "EVP_DigestFinal_ex")?,
            _library: library,
        })
    }

    /// Hashes as glance_store does; `None` when the library refuses a digest.
    #[must_use]
    pub fn digests(&self, bytes: &[u8]) -> Option<Digests> {
        let (mut md5, mut sha512) = (self.start(self.md5)?, self.start(self.sha512)?);
        for step in bytes.chunks(STEP_BYTES) {
            md5.update(step)?;
            sha512.update(step)?;
        }
        let digests = [Digest::Md5(md5.finish::<16>()?), Digest::Multihash(sha512.finish::<64>()?)];
        Some(collect(HashAlgo::Sha512, digests))
    }

    fn start(&self, algorithm: Algorithm) -> Option<Context<'_>> {
        // SAFETY: EVP_MD_CTX_new takes nothing.
        let context = unsafe { (self.new)() };
        if context.is_null() {
            return None;
        }
        let context = Context { openssl: self, context };
        // SAFETY: EVP_md5 and EVP_sha512 take nothing and give what is there for ever.
        let algorithm = unsafe { algorithm() };
        // SAFETY: the context is new, the algorithm the library's own, and without an engine it
        // is told so by a null pointer.
        let is_done = unsafe { (self.init)(context.context, algorithm, ptr::null_mut()) } == 1;
        is_done.then_some(context)
    }
}

/// A function of the library with its type in `openssl/evp.h`.
fn function<F: Copy>(library: &Library, name: &str) -> Option<F> {
    // SAFETY: `get` needs the type that the symbol has; each caller's is the header's.
    unsafe { library.get::<F>(name.as_bytes()) }.ok().map(|symbol| *symbol)
}

impl Context<'_> {
    fn update(&mut self, bytes: &[u8]) -> Option<()> {
        // SAFETY: the context is initialised and only we have it; `bytes` has as many as are said.
        let done =
            unsafe { (self.openssl.update)(self.context, bytes.as_ptr().cast(), bytes.len()) };
        (done == 1).then_some(())
    }

    /// `BYTES` is the digest's length.
    fn finish<const BYTES: usize>(self) -> Option<Vec<u8>> {
        // Room for any digest, whatever the caller thinks of its length: EVP_MAX_MD_SIZE.
        let mut digest = [0_u8; 64];
        let mut written: c_uint = 0;
        // SAFETY: the context is initialised, and `digest` has room for the longest digest.
        let done =
            unsafe { (self.openssl.end)(self.context, digest.as_mut_ptr(), &raw mut written) };
        (done == 1 && written as usize == BYTES).then(|| digest[..BYTES].to_vec())
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: the context came from EVP_MD_CTX_new and is freed once.
        unsafe { (self.openssl.free)(self.context) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::oracle::{noise, oracle};

    /// The test links libcrypto, so there is one to open.
    #[test]
    fn the_opened_library_gives_the_linked_ones_digests() {
        let Some(openssl) = OpenSsl::load() else { panic!("no libcrypto of {LIBRARIES:?}") };
        for len in [0, 1, STEP_BYTES, STEP_BYTES + 1] {
            let data = noise(len as u64, len);
            assert_eq!(openssl.digests(&data), Some(oracle(HashAlgo::Sha512, &data)), "{len}");
        }
    }
}
