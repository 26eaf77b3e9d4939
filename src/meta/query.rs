//! What a list asks for: filters, an order, a page.
//!
//! Columns are enums, one for each kind of value, so that no filter can compare a size with a name
//! on a database that minds. Their words are those of SQL and of the Image API at once.

use time::OffsetDateTime;

use crate::image::{MemberStatus, Visibility};

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

/// Who looks at a list, and so what can be on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Sees what anybody has.
    pub is_admin: bool,
    /// The project whose own things it sees; without one it has none.
    pub project: Option<String>,
}

impl Viewer {
    /// An administrator of no project.
    #[must_use]
    pub fn admin() -> Self {
        Self { is_admin: true, project: None }
    }

    /// Somebody of a project.
    #[must_use]
    pub fn of(project: &str) -> Self {
        Self { is_admin: false, project: Some(project.to_owned()) }
    }
}

/// Which visibilities a list is about (`LI-08`), of what its viewer can see at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Nothing was asked for: all but the community images of others.
    #[default]
    Unasked,
    /// Every one.
    All,
    /// Only this one.
    Only(Visibility),
    /// One that no image has.
    Nothing,
}

/// A list of images. The default is all that an administrator sees unasked, newest first, on a
/// page of none.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// At most so many; 0 is legal and gives none.
    pub limit: u64,
    /// Start after this image, which the viewer must be able to see.
    pub marker: Option<String>,
    /// Whose list it is. An administrator's has every image; others see what is public, of the
    /// community, their project's, or shared with it (`LI-11`).
    pub viewer: Viewer,
    /// Which visibilities it is about.
    pub shown: Shown,
    /// What the viewer's project has said to the images that are shared with it, for these to be
    /// listed; anything if `None` (`LI-09`).
    pub member_status: Option<MemberStatus>,
    /// What each image must fulfil, all of it.
    pub filters: Vec<Filter>,
    /// Most significant key first. What it leaves open is decided by `created_at` and `id`, newest
    /// and largest first.
    pub sort: Vec<(SortKey, Direction)>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            limit: 0,
            marker: None,
            viewer: Viewer::admin(),
            shown: Shown::Unasked,
            member_status: Some(MemberStatus::Accepted),
            filters: Vec::new(),
            sort: Vec::new(),
        }
    }
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
    /// Start after this task, which the viewer must be able to see.
    pub marker: Option<String>,
    /// Whose list it is. An administrator's has every task, others' have their project's.
    pub viewer: Viewer,
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
