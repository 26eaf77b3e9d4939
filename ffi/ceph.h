/* What bindgen reads to make bindings.rs; build.rs lists the functions that are kept. */
#include <rados/librados.h>
#include <rbd/librbd.h>
