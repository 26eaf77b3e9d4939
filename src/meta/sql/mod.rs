//! SQL on the three databases that Glance knows, written once.
//!
//! A [`Statement`] is text with numbered values; what a [`Dialect`] says differently is put in when
//! it is run. A [`Tx`] runs statements on a connection of whichever database it is, and gives rows
//! whose columns are read by name. [`Db`] has the connections, and runs a change again, as a whole,
//! when the database asks for that.
//!
//! A driver whose future is dropped in the middle of a statement may have read half an answer. So
//! a connection that is let go of in that state is closed, not used again; the server undoes what
//! was begun on it.

mod connect;
mod db;
mod error;
mod pool;
mod row;
mod statement;
mod tx;

pub(super) use connect::connect_once;
pub(super) use db::Db;
pub use error::{DbError, Trouble};
pub(super) use row::Row;
pub(super) use statement::{Dialect, Statement, Value, exact, sql};
pub(super) use tx::Tx;
