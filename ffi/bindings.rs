// Made by `cargo build --release --features bindgen`. Don't edit.

pub const RBD_FEATURE_LAYERING: u32 = 1;
pub const RBD_FEATURE_STRIPINGV2: u32 = 2;
pub const RBD_FEATURE_EXCLUSIVE_LOCK: u32 = 4;
pub const RBD_FEATURE_OBJECT_MAP: u32 = 8;
pub const RBD_FEATURE_FAST_DIFF: u32 = 16;
pub const RBD_FEATURE_DEEP_FLATTEN: u32 = 32;
pub const RBD_FEATURE_JOURNALING: u32 = 64;
pub const RBD_FEATURE_DATA_POOL: u32 = 128;
pub const RBD_FEATURE_OPERATIONS: u32 = 256;
pub const RBD_FEATURE_MIGRATING: u32 = 512;
pub const RBD_FEATURE_NON_PRIMARY: u32 = 1024;
pub const RBD_FEATURE_DIRTY_CACHE: u32 = 2048;
pub const RBD_FEATURE_NAME_LAYERING: &[u8; 9] = b"layering\0";
pub const RBD_FEATURE_NAME_STRIPINGV2: &[u8; 9] = b"striping\0";
pub const RBD_FEATURE_NAME_EXCLUSIVE_LOCK: &[u8; 15] = b"exclusive-lock\0";
pub const RBD_FEATURE_NAME_OBJECT_MAP: &[u8; 11] = b"object-map\0";
pub const RBD_FEATURE_NAME_FAST_DIFF: &[u8; 10] = b"fast-diff\0";
pub const RBD_FEATURE_NAME_DEEP_FLATTEN: &[u8; 13] = b"deep-flatten\0";
pub const RBD_FEATURE_NAME_JOURNALING: &[u8; 11] = b"journaling\0";
pub const RBD_FEATURE_NAME_DATA_POOL: &[u8; 10] = b"data-pool\0";
pub const RBD_FEATURE_NAME_OPERATIONS: &[u8; 11] = b"operations\0";
pub const RBD_FEATURE_NAME_MIGRATING: &[u8; 10] = b"migrating\0";
pub const RBD_FEATURE_NAME_NON_PRIMARY: &[u8; 12] = b"non-primary\0";
pub const RBD_FEATURE_NAME_DIRTY_CACHE: &[u8; 12] = b"dirty-cache\0";
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct iovec {
    pub iov_base: *mut ::std::os::raw::c_void,
    pub iov_len: usize,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of iovec"][::std::mem::size_of::<iovec>() - 16usize];
    ["Alignment of iovec"][::std::mem::align_of::<iovec>() - 8usize];
    [
        "Offset of field: iovec::iov_base",
    ][::std::mem::offset_of!(iovec, iov_base) - 0usize];
    ["Offset of field: iovec::iov_len"][::std::mem::offset_of!(iovec, iov_len) - 8usize];
};
pub type rados_t = *mut ::std::os::raw::c_void;
pub type rados_ioctx_t = *mut ::std::os::raw::c_void;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rados_cluster_stat_t {
    pub kb: u64,
    pub kb_used: u64,
    pub kb_avail: u64,
    pub num_objects: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of rados_cluster_stat_t",
    ][::std::mem::size_of::<rados_cluster_stat_t>() - 32usize];
    [
        "Alignment of rados_cluster_stat_t",
    ][::std::mem::align_of::<rados_cluster_stat_t>() - 8usize];
    [
        "Offset of field: rados_cluster_stat_t::kb",
    ][::std::mem::offset_of!(rados_cluster_stat_t, kb) - 0usize];
    [
        "Offset of field: rados_cluster_stat_t::kb_used",
    ][::std::mem::offset_of!(rados_cluster_stat_t, kb_used) - 8usize];
    [
        "Offset of field: rados_cluster_stat_t::kb_avail",
    ][::std::mem::offset_of!(rados_cluster_stat_t, kb_avail) - 16usize];
    [
        "Offset of field: rados_cluster_stat_t::num_objects",
    ][::std::mem::offset_of!(rados_cluster_stat_t, num_objects) - 24usize];
};
pub type rbd_image_t = *mut ::std::os::raw::c_void;
pub type rbd_image_options_t = *mut ::std::os::raw::c_void;
pub type rbd_completion_t = *mut ::std::os::raw::c_void;
pub type rbd_callback_t = ::std::option::Option<
    unsafe extern "C" fn(cb: rbd_completion_t, arg: *mut ::std::os::raw::c_void),
>;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_spec_t {
    pub id: *mut ::std::os::raw::c_char,
    pub name: *mut ::std::os::raw::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rbd_image_spec_t"][::std::mem::size_of::<rbd_image_spec_t>() - 16usize];
    [
        "Alignment of rbd_image_spec_t",
    ][::std::mem::align_of::<rbd_image_spec_t>() - 8usize];
    [
        "Offset of field: rbd_image_spec_t::id",
    ][::std::mem::offset_of!(rbd_image_spec_t, id) - 0usize];
    [
        "Offset of field: rbd_image_spec_t::name",
    ][::std::mem::offset_of!(rbd_image_spec_t, name) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_linked_image_spec_t {
    pub pool_id: i64,
    pub pool_name: *mut ::std::os::raw::c_char,
    pub pool_namespace: *mut ::std::os::raw::c_char,
    pub image_id: *mut ::std::os::raw::c_char,
    pub image_name: *mut ::std::os::raw::c_char,
    pub trash: bool,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of rbd_linked_image_spec_t",
    ][::std::mem::size_of::<rbd_linked_image_spec_t>() - 48usize];
    [
        "Alignment of rbd_linked_image_spec_t",
    ][::std::mem::align_of::<rbd_linked_image_spec_t>() - 8usize];
    [
        "Offset of field: rbd_linked_image_spec_t::pool_id",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, pool_id) - 0usize];
    [
        "Offset of field: rbd_linked_image_spec_t::pool_name",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, pool_name) - 8usize];
    [
        "Offset of field: rbd_linked_image_spec_t::pool_namespace",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, pool_namespace) - 16usize];
    [
        "Offset of field: rbd_linked_image_spec_t::image_id",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, image_id) - 24usize];
    [
        "Offset of field: rbd_linked_image_spec_t::image_name",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, image_name) - 32usize];
    [
        "Offset of field: rbd_linked_image_spec_t::trash",
    ][::std::mem::offset_of!(rbd_linked_image_spec_t, trash) - 40usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_snap_info_t {
    pub id: u64,
    pub size: u64,
    pub name: *const ::std::os::raw::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rbd_snap_info_t"][::std::mem::size_of::<rbd_snap_info_t>() - 24usize];
    ["Alignment of rbd_snap_info_t"][::std::mem::align_of::<rbd_snap_info_t>() - 8usize];
    [
        "Offset of field: rbd_snap_info_t::id",
    ][::std::mem::offset_of!(rbd_snap_info_t, id) - 0usize];
    [
        "Offset of field: rbd_snap_info_t::size",
    ][::std::mem::offset_of!(rbd_snap_info_t, size) - 8usize];
    [
        "Offset of field: rbd_snap_info_t::name",
    ][::std::mem::offset_of!(rbd_snap_info_t, name) - 16usize];
};
pub const EVENT_TYPE_PIPE: _bindgen_ty_14 = 1;
pub const EVENT_TYPE_EVENTFD: _bindgen_ty_14 = 2;
pub type _bindgen_ty_14 = ::std::os::raw::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_info_t {
    pub size: u64,
    pub obj_size: u64,
    pub num_objs: u64,
    pub order: ::std::os::raw::c_int,
    pub block_name_prefix: [::std::os::raw::c_char; 24usize],
    pub parent_pool: i64,
    pub parent_name: [::std::os::raw::c_char; 96usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of rbd_image_info_t"][::std::mem::size_of::<rbd_image_info_t>() - 160usize];
    [
        "Alignment of rbd_image_info_t",
    ][::std::mem::align_of::<rbd_image_info_t>() - 8usize];
    [
        "Offset of field: rbd_image_info_t::size",
    ][::std::mem::offset_of!(rbd_image_info_t, size) - 0usize];
    [
        "Offset of field: rbd_image_info_t::obj_size",
    ][::std::mem::offset_of!(rbd_image_info_t, obj_size) - 8usize];
    [
        "Offset of field: rbd_image_info_t::num_objs",
    ][::std::mem::offset_of!(rbd_image_info_t, num_objs) - 16usize];
    [
        "Offset of field: rbd_image_info_t::order",
    ][::std::mem::offset_of!(rbd_image_info_t, order) - 24usize];
    [
        "Offset of field: rbd_image_info_t::block_name_prefix",
    ][::std::mem::offset_of!(rbd_image_info_t, block_name_prefix) - 28usize];
    [
        "Offset of field: rbd_image_info_t::parent_pool",
    ][::std::mem::offset_of!(rbd_image_info_t, parent_pool) - 56usize];
    [
        "Offset of field: rbd_image_info_t::parent_name",
    ][::std::mem::offset_of!(rbd_image_info_t, parent_name) - 64usize];
};
pub const rbd_lock_mode_t_RBD_LOCK_MODE_EXCLUSIVE: rbd_lock_mode_t = 0;
pub const rbd_lock_mode_t_RBD_LOCK_MODE_SHARED: rbd_lock_mode_t = 1;
pub type rbd_lock_mode_t = ::std::os::raw::c_uint;
pub const RBD_IMAGE_OPTION_FORMAT: _bindgen_ty_15 = 0;
pub const RBD_IMAGE_OPTION_FEATURES: _bindgen_ty_15 = 1;
pub const RBD_IMAGE_OPTION_ORDER: _bindgen_ty_15 = 2;
pub const RBD_IMAGE_OPTION_STRIPE_UNIT: _bindgen_ty_15 = 3;
pub const RBD_IMAGE_OPTION_STRIPE_COUNT: _bindgen_ty_15 = 4;
pub const RBD_IMAGE_OPTION_JOURNAL_ORDER: _bindgen_ty_15 = 5;
pub const RBD_IMAGE_OPTION_JOURNAL_SPLAY_WIDTH: _bindgen_ty_15 = 6;
pub const RBD_IMAGE_OPTION_JOURNAL_POOL: _bindgen_ty_15 = 7;
pub const RBD_IMAGE_OPTION_FEATURES_SET: _bindgen_ty_15 = 8;
pub const RBD_IMAGE_OPTION_FEATURES_CLEAR: _bindgen_ty_15 = 9;
pub const RBD_IMAGE_OPTION_DATA_POOL: _bindgen_ty_15 = 10;
pub const RBD_IMAGE_OPTION_FLATTEN: _bindgen_ty_15 = 11;
pub const RBD_IMAGE_OPTION_CLONE_FORMAT: _bindgen_ty_15 = 12;
pub const RBD_IMAGE_OPTION_MIRROR_IMAGE_MODE: _bindgen_ty_15 = 13;
pub type _bindgen_ty_15 = ::std::os::raw::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct rbd_image_watcher_t {
    pub addr: *mut ::std::os::raw::c_char,
    pub id: i64,
    pub cookie: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of rbd_image_watcher_t",
    ][::std::mem::size_of::<rbd_image_watcher_t>() - 24usize];
    [
        "Alignment of rbd_image_watcher_t",
    ][::std::mem::align_of::<rbd_image_watcher_t>() - 8usize];
    [
        "Offset of field: rbd_image_watcher_t::addr",
    ][::std::mem::offset_of!(rbd_image_watcher_t, addr) - 0usize];
    [
        "Offset of field: rbd_image_watcher_t::id",
    ][::std::mem::offset_of!(rbd_image_watcher_t, id) - 8usize];
    [
        "Offset of field: rbd_image_watcher_t::cookie",
    ][::std::mem::offset_of!(rbd_image_watcher_t, cookie) - 16usize];
};
pub struct Ceph {
    __library: ::libloading::Library,
    pub rados_create2: Result<
        unsafe extern "C" fn(
            pcluster: *mut rados_t,
            clustername: *const ::std::os::raw::c_char,
            name: *const ::std::os::raw::c_char,
            flags: u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_connect: Result<
        unsafe extern "C" fn(cluster: rados_t) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_shutdown: Result<
        unsafe extern "C" fn(cluster: rados_t),
        ::libloading::Error,
    >,
    pub rados_conf_read_file: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            path: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_conf_set: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            option: *const ::std::os::raw::c_char,
            value: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_conf_get: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            option: *const ::std::os::raw::c_char,
            buf: *mut ::std::os::raw::c_char,
            len: usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_cluster_stat: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            result: *mut rados_cluster_stat_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_cluster_fsid: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            buf: *mut ::std::os::raw::c_char,
            len: usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_ioctx_create: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            pool_name: *const ::std::os::raw::c_char,
            ioctx: *mut rados_ioctx_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_ioctx_destroy: Result<
        unsafe extern "C" fn(io: rados_ioctx_t),
        ::libloading::Error,
    >,
    pub rados_pool_lookup: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            pool_name: *const ::std::os::raw::c_char,
        ) -> i64,
        ::libloading::Error,
    >,
    pub rados_ioctx_set_namespace: Result<
        unsafe extern "C" fn(io: rados_ioctx_t, nspace: *const ::std::os::raw::c_char),
        ::libloading::Error,
    >,
    pub rados_blocklist_add: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            client_address: *mut ::std::os::raw::c_char,
            expire_seconds: u32,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_getaddrs: Result<
        unsafe extern "C" fn(
            cluster: rados_t,
            addrs: *mut *mut ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rados_set_pool_full_try: Result<
        unsafe extern "C" fn(io: rados_ioctx_t),
        ::libloading::Error,
    >,
    pub rados_buffer_free: Result<
        unsafe extern "C" fn(buf: *mut ::std::os::raw::c_char),
        ::libloading::Error,
    >,
    pub rbd_version: Result<
        unsafe extern "C" fn(
            major: *mut ::std::os::raw::c_int,
            minor: *mut ::std::os::raw::c_int,
            extra: *mut ::std::os::raw::c_int,
        ),
        ::libloading::Error,
    >,
    pub rbd_image_options_create: Result<
        unsafe extern "C" fn(opts: *mut rbd_image_options_t),
        ::libloading::Error,
    >,
    pub rbd_image_options_destroy: Result<
        unsafe extern "C" fn(opts: rbd_image_options_t),
        ::libloading::Error,
    >,
    pub rbd_image_options_set_string: Result<
        unsafe extern "C" fn(
            opts: rbd_image_options_t,
            optname: ::std::os::raw::c_int,
            optval: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_image_options_set_uint64: Result<
        unsafe extern "C" fn(
            opts: rbd_image_options_t,
            optname: ::std::os::raw::c_int,
            optval: u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_image_spec_list_cleanup: Result<
        unsafe extern "C" fn(images: *mut rbd_image_spec_t, num_images: usize),
        ::libloading::Error,
    >,
    pub rbd_linked_image_spec_list_cleanup: Result<
        unsafe extern "C" fn(images: *mut rbd_linked_image_spec_t, num_images: usize),
        ::libloading::Error,
    >,
    pub rbd_list2: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            images: *mut rbd_image_spec_t,
            max_images: *mut usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_create: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            size: u64,
            order: *mut ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_create3: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            size: u64,
            features: u64,
            order: *mut ::std::os::raw::c_int,
            stripe_unit: u64,
            stripe_count: u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_create4: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            size: u64,
            opts: rbd_image_options_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_clone3: Result<
        unsafe extern "C" fn(
            p_ioctx: rados_ioctx_t,
            p_name: *const ::std::os::raw::c_char,
            p_snapname: *const ::std::os::raw::c_char,
            c_ioctx: rados_ioctx_t,
            c_name: *const ::std::os::raw::c_char,
            c_opts: rbd_image_options_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_remove: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_rename: Result<
        unsafe extern "C" fn(
            src_io_ctx: rados_ioctx_t,
            srcname: *const ::std::os::raw::c_char,
            destname: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_trash_move: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            delay: u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_open: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            image: *mut rbd_image_t,
            snap_name: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_open_read_only: Result<
        unsafe extern "C" fn(
            io: rados_ioctx_t,
            name: *const ::std::os::raw::c_char,
            image: *mut rbd_image_t,
            snap_name: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_close: Result<
        unsafe extern "C" fn(image: rbd_image_t) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_resize: Result<
        unsafe extern "C" fn(image: rbd_image_t, size: u64) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_stat: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            info: *mut rbd_image_info_t,
            infosize: usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_get_size: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            size: *mut u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_get_features: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            features: *mut u64,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_update_features: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            features: u64,
            enabled: u8,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_get_id: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            id: *mut ::std::os::raw::c_char,
            id_len: usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_set_image_notification: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            fd: ::std::os::raw::c_int,
            type_: ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_lock_acquire: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            lock_mode: rbd_lock_mode_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_list: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snaps: *mut rbd_snap_info_t,
            max_snaps: *mut ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_list_end: Result<
        unsafe extern "C" fn(snaps: *mut rbd_snap_info_t),
        ::libloading::Error,
    >,
    pub rbd_snap_exists: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snapname: *const ::std::os::raw::c_char,
            exists: *mut bool,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_create: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snapname: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_remove: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snapname: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_protect: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snap_name: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_unprotect: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snap_name: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_is_protected: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snap_name: *const ::std::os::raw::c_char,
            is_protected: *mut ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_snap_set: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            snapname: *const ::std::os::raw::c_char,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_list_children3: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            images: *mut rbd_linked_image_spec_t,
            max_images: *mut usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_write: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            off: u64,
            len: usize,
            buf: *const ::std::os::raw::c_char,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_write2: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            off: u64,
            len: usize,
            buf: *const ::std::os::raw::c_char,
            c: rbd_completion_t,
            op_flags: ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_writev: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            iov: *const iovec,
            iovcnt: ::std::os::raw::c_int,
            off: u64,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_read: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            off: u64,
            len: usize,
            buf: *mut ::std::os::raw::c_char,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_readv: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            iov: *const iovec,
            iovcnt: ::std::os::raw::c_int,
            off: u64,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_discard: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            off: u64,
            len: u64,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_write_zeroes: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            off: u64,
            len: usize,
            c: rbd_completion_t,
            zero_flags: ::std::os::raw::c_int,
            op_flags: ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_create_completion: Result<
        unsafe extern "C" fn(
            cb_arg: *mut ::std::os::raw::c_void,
            complete_cb: rbd_callback_t,
            c: *mut rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_is_complete: Result<
        unsafe extern "C" fn(c: rbd_completion_t) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_wait_for_complete: Result<
        unsafe extern "C" fn(c: rbd_completion_t) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_get_return_value: Result<
        unsafe extern "C" fn(c: rbd_completion_t) -> isize,
        ::libloading::Error,
    >,
    pub rbd_aio_get_arg: Result<
        unsafe extern "C" fn(c: rbd_completion_t) -> *mut ::std::os::raw::c_void,
        ::libloading::Error,
    >,
    pub rbd_aio_release: Result<
        unsafe extern "C" fn(c: rbd_completion_t),
        ::libloading::Error,
    >,
    pub rbd_flush: Result<
        unsafe extern "C" fn(image: rbd_image_t) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_aio_flush: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            c: rbd_completion_t,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_poll_io_events: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            comps: *mut rbd_completion_t,
            numcomp: ::std::os::raw::c_int,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_watchers_list: Result<
        unsafe extern "C" fn(
            image: rbd_image_t,
            watchers: *mut rbd_image_watcher_t,
            max_watchers: *mut usize,
        ) -> ::std::os::raw::c_int,
        ::libloading::Error,
    >,
    pub rbd_watchers_list_cleanup: Result<
        unsafe extern "C" fn(watchers: *mut rbd_image_watcher_t, num_watchers: usize),
        ::libloading::Error,
    >,
}
impl Ceph {
    pub unsafe fn new<P>(path: P) -> Result<Self, ::libloading::Error>
    where
        P: AsRef<::std::ffi::OsStr>,
    {
        let library = ::libloading::Library::new(path)?;
        Self::from_library(library)
    }
    pub unsafe fn from_library<L>(library: L) -> Result<Self, ::libloading::Error>
    where
        L: Into<::libloading::Library>,
    {
        let __library = library.into();
        let rados_create2 = __library.get(b"rados_create2\0").map(|sym| *sym);
        let rados_connect = __library.get(b"rados_connect\0").map(|sym| *sym);
        let rados_shutdown = __library.get(b"rados_shutdown\0").map(|sym| *sym);
        let rados_conf_read_file = __library
            .get(b"rados_conf_read_file\0")
            .map(|sym| *sym);
        let rados_conf_set = __library.get(b"rados_conf_set\0").map(|sym| *sym);
        let rados_conf_get = __library.get(b"rados_conf_get\0").map(|sym| *sym);
        let rados_cluster_stat = __library.get(b"rados_cluster_stat\0").map(|sym| *sym);
        let rados_cluster_fsid = __library.get(b"rados_cluster_fsid\0").map(|sym| *sym);
        let rados_ioctx_create = __library.get(b"rados_ioctx_create\0").map(|sym| *sym);
        let rados_ioctx_destroy = __library
            .get(b"rados_ioctx_destroy\0")
            .map(|sym| *sym);
        let rados_pool_lookup = __library.get(b"rados_pool_lookup\0").map(|sym| *sym);
        let rados_ioctx_set_namespace = __library
            .get(b"rados_ioctx_set_namespace\0")
            .map(|sym| *sym);
        let rados_blocklist_add = __library
            .get(b"rados_blocklist_add\0")
            .map(|sym| *sym);
        let rados_getaddrs = __library.get(b"rados_getaddrs\0").map(|sym| *sym);
        let rados_set_pool_full_try = __library
            .get(b"rados_set_pool_full_try\0")
            .map(|sym| *sym);
        let rados_buffer_free = __library.get(b"rados_buffer_free\0").map(|sym| *sym);
        let rbd_version = __library.get(b"rbd_version\0").map(|sym| *sym);
        let rbd_image_options_create = __library
            .get(b"rbd_image_options_create\0")
            .map(|sym| *sym);
        let rbd_image_options_destroy = __library
            .get(b"rbd_image_options_destroy\0")
            .map(|sym| *sym);
        let rbd_image_options_set_string = __library
            .get(b"rbd_image_options_set_string\0")
            .map(|sym| *sym);
        let rbd_image_options_set_uint64 = __library
            .get(b"rbd_image_options_set_uint64\0")
            .map(|sym| *sym);
        let rbd_image_spec_list_cleanup = __library
            .get(b"rbd_image_spec_list_cleanup\0")
            .map(|sym| *sym);
        let rbd_linked_image_spec_list_cleanup = __library
            .get(b"rbd_linked_image_spec_list_cleanup\0")
            .map(|sym| *sym);
        let rbd_list2 = __library.get(b"rbd_list2\0").map(|sym| *sym);
        let rbd_create = __library.get(b"rbd_create\0").map(|sym| *sym);
        let rbd_create3 = __library.get(b"rbd_create3\0").map(|sym| *sym);
        let rbd_create4 = __library.get(b"rbd_create4\0").map(|sym| *sym);
        let rbd_clone3 = __library.get(b"rbd_clone3\0").map(|sym| *sym);
        let rbd_remove = __library.get(b"rbd_remove\0").map(|sym| *sym);
        let rbd_rename = __library.get(b"rbd_rename\0").map(|sym| *sym);
        let rbd_trash_move = __library.get(b"rbd_trash_move\0").map(|sym| *sym);
        let rbd_open = __library.get(b"rbd_open\0").map(|sym| *sym);
        let rbd_open_read_only = __library.get(b"rbd_open_read_only\0").map(|sym| *sym);
        let rbd_close = __library.get(b"rbd_close\0").map(|sym| *sym);
        let rbd_resize = __library.get(b"rbd_resize\0").map(|sym| *sym);
        let rbd_stat = __library.get(b"rbd_stat\0").map(|sym| *sym);
        let rbd_get_size = __library.get(b"rbd_get_size\0").map(|sym| *sym);
        let rbd_get_features = __library.get(b"rbd_get_features\0").map(|sym| *sym);
        let rbd_update_features = __library
            .get(b"rbd_update_features\0")
            .map(|sym| *sym);
        let rbd_get_id = __library.get(b"rbd_get_id\0").map(|sym| *sym);
        let rbd_set_image_notification = __library
            .get(b"rbd_set_image_notification\0")
            .map(|sym| *sym);
        let rbd_lock_acquire = __library.get(b"rbd_lock_acquire\0").map(|sym| *sym);
        let rbd_snap_list = __library.get(b"rbd_snap_list\0").map(|sym| *sym);
        let rbd_snap_list_end = __library.get(b"rbd_snap_list_end\0").map(|sym| *sym);
        let rbd_snap_exists = __library.get(b"rbd_snap_exists\0").map(|sym| *sym);
        let rbd_snap_create = __library.get(b"rbd_snap_create\0").map(|sym| *sym);
        let rbd_snap_remove = __library.get(b"rbd_snap_remove\0").map(|sym| *sym);
        let rbd_snap_protect = __library.get(b"rbd_snap_protect\0").map(|sym| *sym);
        let rbd_snap_unprotect = __library.get(b"rbd_snap_unprotect\0").map(|sym| *sym);
        let rbd_snap_is_protected = __library
            .get(b"rbd_snap_is_protected\0")
            .map(|sym| *sym);
        let rbd_snap_set = __library.get(b"rbd_snap_set\0").map(|sym| *sym);
        let rbd_list_children3 = __library.get(b"rbd_list_children3\0").map(|sym| *sym);
        let rbd_aio_write = __library.get(b"rbd_aio_write\0").map(|sym| *sym);
        let rbd_aio_write2 = __library.get(b"rbd_aio_write2\0").map(|sym| *sym);
        let rbd_aio_writev = __library.get(b"rbd_aio_writev\0").map(|sym| *sym);
        let rbd_aio_read = __library.get(b"rbd_aio_read\0").map(|sym| *sym);
        let rbd_aio_readv = __library.get(b"rbd_aio_readv\0").map(|sym| *sym);
        let rbd_aio_discard = __library.get(b"rbd_aio_discard\0").map(|sym| *sym);
        let rbd_aio_write_zeroes = __library
            .get(b"rbd_aio_write_zeroes\0")
            .map(|sym| *sym);
        let rbd_aio_create_completion = __library
            .get(b"rbd_aio_create_completion\0")
            .map(|sym| *sym);
        let rbd_aio_is_complete = __library
            .get(b"rbd_aio_is_complete\0")
            .map(|sym| *sym);
        let rbd_aio_wait_for_complete = __library
            .get(b"rbd_aio_wait_for_complete\0")
            .map(|sym| *sym);
        let rbd_aio_get_return_value = __library
            .get(b"rbd_aio_get_return_value\0")
            .map(|sym| *sym);
        let rbd_aio_get_arg = __library.get(b"rbd_aio_get_arg\0").map(|sym| *sym);
        let rbd_aio_release = __library.get(b"rbd_aio_release\0").map(|sym| *sym);
        let rbd_flush = __library.get(b"rbd_flush\0").map(|sym| *sym);
        let rbd_aio_flush = __library.get(b"rbd_aio_flush\0").map(|sym| *sym);
        let rbd_poll_io_events = __library.get(b"rbd_poll_io_events\0").map(|sym| *sym);
        let rbd_watchers_list = __library.get(b"rbd_watchers_list\0").map(|sym| *sym);
        let rbd_watchers_list_cleanup = __library
            .get(b"rbd_watchers_list_cleanup\0")
            .map(|sym| *sym);
        Ok(Ceph {
            __library,
            rados_create2,
            rados_connect,
            rados_shutdown,
            rados_conf_read_file,
            rados_conf_set,
            rados_conf_get,
            rados_cluster_stat,
            rados_cluster_fsid,
            rados_ioctx_create,
            rados_ioctx_destroy,
            rados_pool_lookup,
            rados_ioctx_set_namespace,
            rados_blocklist_add,
            rados_getaddrs,
            rados_set_pool_full_try,
            rados_buffer_free,
            rbd_version,
            rbd_image_options_create,
            rbd_image_options_destroy,
            rbd_image_options_set_string,
            rbd_image_options_set_uint64,
            rbd_image_spec_list_cleanup,
            rbd_linked_image_spec_list_cleanup,
            rbd_list2,
            rbd_create,
            rbd_create3,
            rbd_create4,
            rbd_clone3,
            rbd_remove,
            rbd_rename,
            rbd_trash_move,
            rbd_open,
            rbd_open_read_only,
            rbd_close,
            rbd_resize,
            rbd_stat,
            rbd_get_size,
            rbd_get_features,
            rbd_update_features,
            rbd_get_id,
            rbd_set_image_notification,
            rbd_lock_acquire,
            rbd_snap_list,
            rbd_snap_list_end,
            rbd_snap_exists,
            rbd_snap_create,
            rbd_snap_remove,
            rbd_snap_protect,
            rbd_snap_unprotect,
            rbd_snap_is_protected,
            rbd_snap_set,
            rbd_list_children3,
            rbd_aio_write,
            rbd_aio_write2,
            rbd_aio_writev,
            rbd_aio_read,
            rbd_aio_readv,
            rbd_aio_discard,
            rbd_aio_write_zeroes,
            rbd_aio_create_completion,
            rbd_aio_is_complete,
            rbd_aio_wait_for_complete,
            rbd_aio_get_return_value,
            rbd_aio_get_arg,
            rbd_aio_release,
            rbd_flush,
            rbd_aio_flush,
            rbd_poll_io_events,
            rbd_watchers_list,
            rbd_watchers_list_cleanup,
        })
    }
    pub unsafe fn rados_create2(
        &self,
        pcluster: *mut rados_t,
        clustername: *const ::std::os::raw::c_char,
        name: *const ::std::os::raw::c_char,
        flags: u64,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_create2
            .as_ref()
            .expect("Expected function, got error."))(pcluster, clustername, name, flags)
    }
    pub unsafe fn rados_connect(&self, cluster: rados_t) -> ::std::os::raw::c_int {
        (self.rados_connect.as_ref().expect("Expected function, got error."))(cluster)
    }
    pub unsafe fn rados_shutdown(&self, cluster: rados_t) {
        (self.rados_shutdown.as_ref().expect("Expected function, got error."))(cluster)
    }
    pub unsafe fn rados_conf_read_file(
        &self,
        cluster: rados_t,
        path: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_conf_read_file
            .as_ref()
            .expect("Expected function, got error."))(cluster, path)
    }
    pub unsafe fn rados_conf_set(
        &self,
        cluster: rados_t,
        option: *const ::std::os::raw::c_char,
        value: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_conf_set
            .as_ref()
            .expect("Expected function, got error."))(cluster, option, value)
    }
    pub unsafe fn rados_conf_get(
        &self,
        cluster: rados_t,
        option: *const ::std::os::raw::c_char,
        buf: *mut ::std::os::raw::c_char,
        len: usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_conf_get
            .as_ref()
            .expect("Expected function, got error."))(cluster, option, buf, len)
    }
    pub unsafe fn rados_cluster_stat(
        &self,
        cluster: rados_t,
        result: *mut rados_cluster_stat_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_cluster_stat
            .as_ref()
            .expect("Expected function, got error."))(cluster, result)
    }
    pub unsafe fn rados_cluster_fsid(
        &self,
        cluster: rados_t,
        buf: *mut ::std::os::raw::c_char,
        len: usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_cluster_fsid
            .as_ref()
            .expect("Expected function, got error."))(cluster, buf, len)
    }
    pub unsafe fn rados_ioctx_create(
        &self,
        cluster: rados_t,
        pool_name: *const ::std::os::raw::c_char,
        ioctx: *mut rados_ioctx_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_ioctx_create
            .as_ref()
            .expect("Expected function, got error."))(cluster, pool_name, ioctx)
    }
    pub unsafe fn rados_ioctx_destroy(&self, io: rados_ioctx_t) {
        (self.rados_ioctx_destroy.as_ref().expect("Expected function, got error."))(io)
    }
    pub unsafe fn rados_pool_lookup(
        &self,
        cluster: rados_t,
        pool_name: *const ::std::os::raw::c_char,
    ) -> i64 {
        (self
            .rados_pool_lookup
            .as_ref()
            .expect("Expected function, got error."))(cluster, pool_name)
    }
    pub unsafe fn rados_ioctx_set_namespace(
        &self,
        io: rados_ioctx_t,
        nspace: *const ::std::os::raw::c_char,
    ) {
        (self
            .rados_ioctx_set_namespace
            .as_ref()
            .expect("Expected function, got error."))(io, nspace)
    }
    pub unsafe fn rados_blocklist_add(
        &self,
        cluster: rados_t,
        client_address: *mut ::std::os::raw::c_char,
        expire_seconds: u32,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_blocklist_add
            .as_ref()
            .expect(
                "Expected function, got error.",
            ))(cluster, client_address, expire_seconds)
    }
    pub unsafe fn rados_getaddrs(
        &self,
        cluster: rados_t,
        addrs: *mut *mut ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rados_getaddrs
            .as_ref()
            .expect("Expected function, got error."))(cluster, addrs)
    }
    pub unsafe fn rados_set_pool_full_try(&self, io: rados_ioctx_t) {
        (self
            .rados_set_pool_full_try
            .as_ref()
            .expect("Expected function, got error."))(io)
    }
    pub unsafe fn rados_buffer_free(&self, buf: *mut ::std::os::raw::c_char) {
        (self.rados_buffer_free.as_ref().expect("Expected function, got error."))(buf)
    }
    pub unsafe fn rbd_version(
        &self,
        major: *mut ::std::os::raw::c_int,
        minor: *mut ::std::os::raw::c_int,
        extra: *mut ::std::os::raw::c_int,
    ) {
        (self
            .rbd_version
            .as_ref()
            .expect("Expected function, got error."))(major, minor, extra)
    }
    pub unsafe fn rbd_image_options_create(&self, opts: *mut rbd_image_options_t) {
        (self
            .rbd_image_options_create
            .as_ref()
            .expect("Expected function, got error."))(opts)
    }
    pub unsafe fn rbd_image_options_destroy(&self, opts: rbd_image_options_t) {
        (self
            .rbd_image_options_destroy
            .as_ref()
            .expect("Expected function, got error."))(opts)
    }
    pub unsafe fn rbd_image_options_set_string(
        &self,
        opts: rbd_image_options_t,
        optname: ::std::os::raw::c_int,
        optval: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_image_options_set_string
            .as_ref()
            .expect("Expected function, got error."))(opts, optname, optval)
    }
    pub unsafe fn rbd_image_options_set_uint64(
        &self,
        opts: rbd_image_options_t,
        optname: ::std::os::raw::c_int,
        optval: u64,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_image_options_set_uint64
            .as_ref()
            .expect("Expected function, got error."))(opts, optname, optval)
    }
    pub unsafe fn rbd_image_spec_list_cleanup(
        &self,
        images: *mut rbd_image_spec_t,
        num_images: usize,
    ) {
        (self
            .rbd_image_spec_list_cleanup
            .as_ref()
            .expect("Expected function, got error."))(images, num_images)
    }
    pub unsafe fn rbd_linked_image_spec_list_cleanup(
        &self,
        images: *mut rbd_linked_image_spec_t,
        num_images: usize,
    ) {
        (self
            .rbd_linked_image_spec_list_cleanup
            .as_ref()
            .expect("Expected function, got error."))(images, num_images)
    }
    pub unsafe fn rbd_list2(
        &self,
        io: rados_ioctx_t,
        images: *mut rbd_image_spec_t,
        max_images: *mut usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_list2
            .as_ref()
            .expect("Expected function, got error."))(io, images, max_images)
    }
    pub unsafe fn rbd_create(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        size: u64,
        order: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_create
            .as_ref()
            .expect("Expected function, got error."))(io, name, size, order)
    }
    pub unsafe fn rbd_create3(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        size: u64,
        features: u64,
        order: *mut ::std::os::raw::c_int,
        stripe_unit: u64,
        stripe_count: u64,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_create3
            .as_ref()
            .expect(
                "Expected function, got error.",
            ))(io, name, size, features, order, stripe_unit, stripe_count)
    }
    pub unsafe fn rbd_create4(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        size: u64,
        opts: rbd_image_options_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_create4
            .as_ref()
            .expect("Expected function, got error."))(io, name, size, opts)
    }
    pub unsafe fn rbd_clone3(
        &self,
        p_ioctx: rados_ioctx_t,
        p_name: *const ::std::os::raw::c_char,
        p_snapname: *const ::std::os::raw::c_char,
        c_ioctx: rados_ioctx_t,
        c_name: *const ::std::os::raw::c_char,
        c_opts: rbd_image_options_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_clone3
            .as_ref()
            .expect(
                "Expected function, got error.",
            ))(p_ioctx, p_name, p_snapname, c_ioctx, c_name, c_opts)
    }
    pub unsafe fn rbd_remove(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self.rbd_remove.as_ref().expect("Expected function, got error."))(io, name)
    }
    pub unsafe fn rbd_rename(
        &self,
        src_io_ctx: rados_ioctx_t,
        srcname: *const ::std::os::raw::c_char,
        destname: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_rename
            .as_ref()
            .expect("Expected function, got error."))(src_io_ctx, srcname, destname)
    }
    pub unsafe fn rbd_trash_move(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        delay: u64,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_trash_move
            .as_ref()
            .expect("Expected function, got error."))(io, name, delay)
    }
    pub unsafe fn rbd_open(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        image: *mut rbd_image_t,
        snap_name: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_open
            .as_ref()
            .expect("Expected function, got error."))(io, name, image, snap_name)
    }
    pub unsafe fn rbd_open_read_only(
        &self,
        io: rados_ioctx_t,
        name: *const ::std::os::raw::c_char,
        image: *mut rbd_image_t,
        snap_name: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_open_read_only
            .as_ref()
            .expect("Expected function, got error."))(io, name, image, snap_name)
    }
    pub unsafe fn rbd_close(&self, image: rbd_image_t) -> ::std::os::raw::c_int {
        (self.rbd_close.as_ref().expect("Expected function, got error."))(image)
    }
    pub unsafe fn rbd_resize(
        &self,
        image: rbd_image_t,
        size: u64,
    ) -> ::std::os::raw::c_int {
        (self.rbd_resize.as_ref().expect("Expected function, got error."))(image, size)
    }
    pub unsafe fn rbd_stat(
        &self,
        image: rbd_image_t,
        info: *mut rbd_image_info_t,
        infosize: usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_stat
            .as_ref()
            .expect("Expected function, got error."))(image, info, infosize)
    }
    pub unsafe fn rbd_get_size(
        &self,
        image: rbd_image_t,
        size: *mut u64,
    ) -> ::std::os::raw::c_int {
        (self.rbd_get_size.as_ref().expect("Expected function, got error."))(image, size)
    }
    pub unsafe fn rbd_get_features(
        &self,
        image: rbd_image_t,
        features: *mut u64,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_get_features
            .as_ref()
            .expect("Expected function, got error."))(image, features)
    }
    pub unsafe fn rbd_update_features(
        &self,
        image: rbd_image_t,
        features: u64,
        enabled: u8,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_update_features
            .as_ref()
            .expect("Expected function, got error."))(image, features, enabled)
    }
    pub unsafe fn rbd_get_id(
        &self,
        image: rbd_image_t,
        id: *mut ::std::os::raw::c_char,
        id_len: usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_get_id
            .as_ref()
            .expect("Expected function, got error."))(image, id, id_len)
    }
    pub unsafe fn rbd_set_image_notification(
        &self,
        image: rbd_image_t,
        fd: ::std::os::raw::c_int,
        type_: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_set_image_notification
            .as_ref()
            .expect("Expected function, got error."))(image, fd, type_)
    }
    pub unsafe fn rbd_lock_acquire(
        &self,
        image: rbd_image_t,
        lock_mode: rbd_lock_mode_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_lock_acquire
            .as_ref()
            .expect("Expected function, got error."))(image, lock_mode)
    }
    pub unsafe fn rbd_snap_list(
        &self,
        image: rbd_image_t,
        snaps: *mut rbd_snap_info_t,
        max_snaps: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_list
            .as_ref()
            .expect("Expected function, got error."))(image, snaps, max_snaps)
    }
    pub unsafe fn rbd_snap_list_end(&self, snaps: *mut rbd_snap_info_t) {
        (self.rbd_snap_list_end.as_ref().expect("Expected function, got error."))(snaps)
    }
    pub unsafe fn rbd_snap_exists(
        &self,
        image: rbd_image_t,
        snapname: *const ::std::os::raw::c_char,
        exists: *mut bool,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_exists
            .as_ref()
            .expect("Expected function, got error."))(image, snapname, exists)
    }
    pub unsafe fn rbd_snap_create(
        &self,
        image: rbd_image_t,
        snapname: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_create
            .as_ref()
            .expect("Expected function, got error."))(image, snapname)
    }
    pub unsafe fn rbd_snap_remove(
        &self,
        image: rbd_image_t,
        snapname: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_remove
            .as_ref()
            .expect("Expected function, got error."))(image, snapname)
    }
    pub unsafe fn rbd_snap_protect(
        &self,
        image: rbd_image_t,
        snap_name: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_protect
            .as_ref()
            .expect("Expected function, got error."))(image, snap_name)
    }
    pub unsafe fn rbd_snap_unprotect(
        &self,
        image: rbd_image_t,
        snap_name: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_unprotect
            .as_ref()
            .expect("Expected function, got error."))(image, snap_name)
    }
    pub unsafe fn rbd_snap_is_protected(
        &self,
        image: rbd_image_t,
        snap_name: *const ::std::os::raw::c_char,
        is_protected: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_is_protected
            .as_ref()
            .expect("Expected function, got error."))(image, snap_name, is_protected)
    }
    pub unsafe fn rbd_snap_set(
        &self,
        image: rbd_image_t,
        snapname: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_snap_set
            .as_ref()
            .expect("Expected function, got error."))(image, snapname)
    }
    pub unsafe fn rbd_list_children3(
        &self,
        image: rbd_image_t,
        images: *mut rbd_linked_image_spec_t,
        max_images: *mut usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_list_children3
            .as_ref()
            .expect("Expected function, got error."))(image, images, max_images)
    }
    pub unsafe fn rbd_aio_write(
        &self,
        image: rbd_image_t,
        off: u64,
        len: usize,
        buf: *const ::std::os::raw::c_char,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_write
            .as_ref()
            .expect("Expected function, got error."))(image, off, len, buf, c)
    }
    pub unsafe fn rbd_aio_write2(
        &self,
        image: rbd_image_t,
        off: u64,
        len: usize,
        buf: *const ::std::os::raw::c_char,
        c: rbd_completion_t,
        op_flags: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_write2
            .as_ref()
            .expect("Expected function, got error."))(image, off, len, buf, c, op_flags)
    }
    pub unsafe fn rbd_aio_writev(
        &self,
        image: rbd_image_t,
        iov: *const iovec,
        iovcnt: ::std::os::raw::c_int,
        off: u64,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_writev
            .as_ref()
            .expect("Expected function, got error."))(image, iov, iovcnt, off, c)
    }
    pub unsafe fn rbd_aio_read(
        &self,
        image: rbd_image_t,
        off: u64,
        len: usize,
        buf: *mut ::std::os::raw::c_char,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_read
            .as_ref()
            .expect("Expected function, got error."))(image, off, len, buf, c)
    }
    pub unsafe fn rbd_aio_readv(
        &self,
        image: rbd_image_t,
        iov: *const iovec,
        iovcnt: ::std::os::raw::c_int,
        off: u64,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_readv
            .as_ref()
            .expect("Expected function, got error."))(image, iov, iovcnt, off, c)
    }
    pub unsafe fn rbd_aio_discard(
        &self,
        image: rbd_image_t,
        off: u64,
        len: u64,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_discard
            .as_ref()
            .expect("Expected function, got error."))(image, off, len, c)
    }
    pub unsafe fn rbd_aio_write_zeroes(
        &self,
        image: rbd_image_t,
        off: u64,
        len: usize,
        c: rbd_completion_t,
        zero_flags: ::std::os::raw::c_int,
        op_flags: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_write_zeroes
            .as_ref()
            .expect(
                "Expected function, got error.",
            ))(image, off, len, c, zero_flags, op_flags)
    }
    pub unsafe fn rbd_aio_create_completion(
        &self,
        cb_arg: *mut ::std::os::raw::c_void,
        complete_cb: rbd_callback_t,
        c: *mut rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_create_completion
            .as_ref()
            .expect("Expected function, got error."))(cb_arg, complete_cb, c)
    }
    pub unsafe fn rbd_aio_is_complete(
        &self,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self.rbd_aio_is_complete.as_ref().expect("Expected function, got error."))(c)
    }
    pub unsafe fn rbd_aio_wait_for_complete(
        &self,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_aio_wait_for_complete
            .as_ref()
            .expect("Expected function, got error."))(c)
    }
    pub unsafe fn rbd_aio_get_return_value(&self, c: rbd_completion_t) -> isize {
        (self
            .rbd_aio_get_return_value
            .as_ref()
            .expect("Expected function, got error."))(c)
    }
    pub unsafe fn rbd_aio_get_arg(
        &self,
        c: rbd_completion_t,
    ) -> *mut ::std::os::raw::c_void {
        (self.rbd_aio_get_arg.as_ref().expect("Expected function, got error."))(c)
    }
    pub unsafe fn rbd_aio_release(&self, c: rbd_completion_t) {
        (self.rbd_aio_release.as_ref().expect("Expected function, got error."))(c)
    }
    pub unsafe fn rbd_flush(&self, image: rbd_image_t) -> ::std::os::raw::c_int {
        (self.rbd_flush.as_ref().expect("Expected function, got error."))(image)
    }
    pub unsafe fn rbd_aio_flush(
        &self,
        image: rbd_image_t,
        c: rbd_completion_t,
    ) -> ::std::os::raw::c_int {
        (self.rbd_aio_flush.as_ref().expect("Expected function, got error."))(image, c)
    }
    pub unsafe fn rbd_poll_io_events(
        &self,
        image: rbd_image_t,
        comps: *mut rbd_completion_t,
        numcomp: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_poll_io_events
            .as_ref()
            .expect("Expected function, got error."))(image, comps, numcomp)
    }
    pub unsafe fn rbd_watchers_list(
        &self,
        image: rbd_image_t,
        watchers: *mut rbd_image_watcher_t,
        max_watchers: *mut usize,
    ) -> ::std::os::raw::c_int {
        (self
            .rbd_watchers_list
            .as_ref()
            .expect("Expected function, got error."))(image, watchers, max_watchers)
    }
    pub unsafe fn rbd_watchers_list_cleanup(
        &self,
        watchers: *mut rbd_image_watcher_t,
        num_watchers: usize,
    ) {
        (self
            .rbd_watchers_list_cleanup
            .as_ref()
            .expect("Expected function, got error."))(watchers, num_watchers)
    }
}
