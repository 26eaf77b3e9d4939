//! Processors for which there are no kernels.

use super::words::{Block, Half, Words};

/// A set of kernels; there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Simd {}

/// One stream's chaining values and its next blocks.
#[derive(Debug)]
pub(super) struct Lane<'a, W, B> {
    pub(super) words: &'a mut W,
    pub(super) blocks: &'a [B],
}

/// Chaining values of MD5 and SHA-256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words256 {
    pub(super) md5: [u32; 4],
    pub(super) sha: [u32; 8],
}

impl Simd {
    pub(super) const ALL: [Self; 0] = [];

    pub(super) fn name(self) -> &'static str {
        match self {}
    }

    pub(super) fn lacks(self) -> Vec<&'static str> {
        match self {}
    }

    pub(super) fn has_sha256(self) -> bool {
        match self {}
    }

    pub(super) fn pack(self) -> usize {
        match self {}
    }

    pub(super) fn nanos_per_kib(self, _: usize) -> usize {
        match self {}
    }

    pub(super) fn fused512(self, _: Vec<Lane<'_, Words, Block>>) {
        match self {}
    }

    pub(super) fn fused256(self, _: Lane<'_, Words256, Half>) {
        match self {}
    }

    pub(super) fn md5(self, _: Vec<Lane<'_, [u32; 4], Half>>) {
        match self {}
    }
}
