//! What a list asks for: filters, an order, a page.
//!
//! Columns are enums, one for each kind of value, so that no filter can compare a size with a name
//! on a database that minds. Their words are those of SQL and of the Image API at once.

use time::OffsetDateTime;

/// An enum of columns, each with its name.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($column:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`.")] $column,)+
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$column),+];

            /// The name in SQL and in query strings.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$column => $word,)+
                }
            }

            /// The reverse of `as_str`.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|column| column.as_str() == word)
            }
        }
    };
}

columns! {
    /// Columns of `images` that hold text.
    TextColumn {
        Id = "id",
        Name = "name",
        Status = "status",
        ContainerFormat = "container_format",
        DiskFormat = "disk_format",
        Visibility = "visibility",
        Checksum = "checksum",
        OsHashAlgo = "os_hash_algo",
        OsHashValue = "os_hash_value",
        Owner = "owner",
    }
}

columns! {
    /// Columns of `images` that hold a number.
    NumberColumn {
        Size = "size",
        VirtualSize = "virtual_size",
        MinDisk = "min_disk",
        MinRam = "min_ram",
    }
}

columns! {
    /// Columns of `images` that hold a time.
    TimeColumn { CreatedAt = "created_at", UpdatedAt = "updated_at" }
}

columns! {
    /// Columns of `images` that hold yes or no.
    FlagColumn { Protected = "protected", OsHidden = "os_hidden" }
}

columns! {
    /// Columns that a list of images can be sorted by, in the order Glance names them.
    SortKey {
        Name = "name",
        Status = "status",
        ContainerFormat = "container_format",
        DiskFormat = "disk_format",
        Size = "size",
        Id = "id",
        CreatedAt = "created_at",
        UpdatedAt = "updated_at",
    }
}

columns! {
    /// Columns of `tasks` that a list of tasks can be filtered by.
    TaskColumn {
        Id = "id",
        Type = "type",
        Status = "status",
        Owner = "owner",
        ImageId = "image_id",
        RequestId = "request_id",
        UserId = "user_id",
    }
}

columns! {
    /// Columns of `tasks` that a list of tasks can be sorted by.
    TaskSortKey {
        CreatedAt = "created_at",
        UpdatedAt = "updated_at",
        ExpiresAt = "expires_at",
        Id = "id",
        Type = "type",
        Status = "status",
        Owner = "owner",
        ImageId = "image_id",
        RequestId = "request_id",
        UserId = "user_id",
    }
}

/// How a value in the database relates to the one in the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    AtMost,
    /// Greater.
    Greater,
    /// Greater or equal.
    AtLeast,
}

/// What an image must be to appear in a list. Without a value nothing is fulfilled.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// The text is one of these.
    Text(TextColumn, Vec<String>),
    /// The number stands so to this one.
    Number(NumberColumn, Comparison, i64),
    /// The time stands so to this one.
    Time(TimeColumn, Comparison, OffsetDateTime),
    /// The flag is so.
    Flag(FlagColumn, bool),
    /// It has this custom property with this value.
    Property(String, String),
    /// It has this tag.
    Tag(String),
}

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest.
    Asc,
    /// The largest.
    Desc,
}

impl Direction {
    /// The word in SQL and in query strings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }

    /// The reverse of [`Direction::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Asc, Self::Desc].into_iter().find(|direction| direction.as_str() == word)
    }
}

/// A list of images. The default is all of them, newest first, on a page of none.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// At most so many; 0 is legal and gives none.
    pub limit: u64,
    /// Start after this image.
    pub marker: Option<String>,
    /// What each image must fulfil, all of it.
    pub filters: Vec<Filter>,
    /// Most significant key first. What it leaves open is decided by `created_at` and `id`, newest
    /// and largest first.
    pub sort: Vec<(SortKey, Direction)>,
}

impl ListQuery {
    /// The whole order, in which no two images are equal.
    #[must_use]
    pub(super) fn order(&self) -> Vec<(SortKey, Direction)> {
        let mut order = self.sort.clone();
        for key in [SortKey::CreatedAt, SortKey::Id] {
            if !order.iter().any(|(sorted, _)| *sorted == key) {
                order.push((key, Direction::Desc));
            }
        }
        order
    }
}

/// A list of tasks that have not expired.
#[derive(Clone, Debug)]
pub struct TaskQuery {
    /// At most so many; 0 is legal and gives none.
    pub limit: u64,
    /// Start after this task.
    pub marker: Option<String>,
    /// What each task must be.
    pub filters: Vec<(TaskColumn, String)>,
    /// What to sort by; `created_at` and `id` decide what it leaves open, in the same direction.
    pub sort: (TaskSortKey, Direction),
}

impl TaskQuery {
    /// The whole order, in which no two tasks are equal. As in Glance, `id` alone sorts by
    /// `created_at` all the same.
    #[must_use]
    pub(super) fn order(&self) -> Vec<(TaskSortKey, Direction)> {
        let (first, direction) = self.sort;
        let rest = [TaskSortKey::CreatedAt, TaskSortKey::Id];
        let first = Some(first).filter(|first| !rest.contains(first));
        first.into_iter().chain(rest).map(|key| (key, direction)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn li_03_an_order_ends_with_time_and_id() {
        use Direction::{Asc, Desc};
        use SortKey::{CreatedAt, Id, Name, Size};
        let order = |sort: &[(SortKey, Direction)]| {
            ListQuery { sort: sort.to_vec(), ..ListQuery::default() }.order()
        };
        assert_eq!(order(&[]), [(CreatedAt, Desc), (Id, Desc)]);
        assert_eq!(order(&[(Name, Asc)]), [(Name, Asc), (CreatedAt, Desc), (Id, Desc)]);
        assert_eq!(order(&[(Id, Asc)]), [(Id, Asc), (CreatedAt, Desc)]);
        assert_eq!(
            order(&[(CreatedAt, Asc), (Size, Asc)]),
            [(CreatedAt, Asc), (Size, Asc), (Id, Desc)]
        );
    }

    #[test]
    fn every_column_reads_back() {
        for column in TextColumn::ALL {
            assert_eq!(TextColumn::parse(column.as_str()), Some(*column));
        }
        assert_eq!(NumberColumn::parse("name"), None);
        assert_eq!(Direction::parse("up"), None);
    }
}
