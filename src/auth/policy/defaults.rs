//! The rules of Glance 33, as they are where an operator has said nothing (`PO-01` to `PO-17`).
//!
//! None of its deprecated rules had another name, so there is no name to be mapped; what their
//! checks were before counts once more where `enforce_new_defaults` is off.

/// A policy of Glance: a name, what it asks for, and what it asked for before that, if it did.
#[derive(Debug)]
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) check: &'static str,
    pub(super) formerly: Option<&'static str>,
}

macro_rules! rules {
    ($($action:ident $name:literal = $check:expr $(, formerly $formerly:expr)?;)*) => {
        /// What a policy says who may do. Each is a rule of the same name in `policy.yaml`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $(#[doc = concat!("`", $name, "`.")] $action,)*
        }

        impl Action {
            /// Every one, in the order of their places.
            pub const ALL: &[Self] = &[$(Self::$action),*];

            /// The name in `policy.yaml`.
            #[must_use]
            pub fn name(self) -> &'static str {
                self.default().name
            }

            pub(super) fn default(self) -> &'static BuiltIn {
                &DEFAULTS[self as usize]
            }
        }

        const DEFAULTS: &[BuiltIn] = &[
            $(BuiltIn { name: $name, check: $check, formerly: rules!(@old $($formerly)?) },)*
        ];
    };
    (@old) => { None };
    (@old $formerly:expr) => { Some($formerly) };
}

const ADMIN: &str = "rule:context_is_admin";
const DEFAULT: &str = "rule:default";
const SERVICE: &str = "rule:service_api";
const METADEF_ADMIN: &str = "rule:metadef_admin";
const METADEF_DEFAULT: &str = "rule:metadef_default";
const MANAGE_CACHE: &str = "rule:manage_image_cache";
const ADMIN_OR_SERVICE: &str = "rule:context_is_admin or rule:service_api";
const MEMBER: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s)";
const READER: &str = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)";
const CREATE: &str = "rule:context_is_admin or \
    (role:member and project_id:%(project_id)s and project_id:%(owner)s)";
const SERVICE_OR_CREATE: &str = "rule:service_api or \
    (role:member and project_id:%(project_id)s and project_id:%(owner)s)";
const SEE: &str = "rule:context_is_admin or (role:reader and \
    (project_id:%(project_id)s or project_id:%(member_id)s or \
    'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";
const DOWNLOAD: &str = "rule:context_is_admin or (role:member and \
    (project_id:%(project_id)s or project_id:%(member_id)s or \
    'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";
const SEE_MEMBERS: &str = "rule:context_is_admin or \
    role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)";
const SHARED_WITH: &str = "rule:context_is_admin or (role:member and project_id:%(member_id)s)";
const SEE_METADEF: &str = "rule:context_is_admin or (role:reader and \
    (project_id:%(project_id)s or 'public':%(visibility)s))";

rules! {
    Default "default" = "", formerly ADMIN;
    ContextIsAdmin "context_is_admin" = "role:admin";
    ServiceApi "service_api" = "role:service or role:admin";

    AddImage "add_image" = CREATE, formerly DEFAULT;
    DeleteImage "delete_image" = MEMBER, formerly DEFAULT;
    GetImage "get_image" = SEE, formerly DEFAULT;
    GetImages "get_images" = READER, formerly DEFAULT;
    ModifyImage "modify_image" = MEMBER, formerly DEFAULT;
    PublicizeImage "publicize_image" = ADMIN;
    CommunitizeImage "communitize_image" = MEMBER, formerly DEFAULT;
    DownloadImage "download_image" = DOWNLOAD, formerly DEFAULT;
    DownloadFromStore "download_from_store" = DOWNLOAD;
    UploadImage "upload_image" = MEMBER, formerly DEFAULT;
    DeleteImageLocation "delete_image_location" = ADMIN, formerly DEFAULT;
    GetImageLocation "get_image_location" = READER, formerly DEFAULT;
    SetImageLocation "set_image_location" = MEMBER, formerly DEFAULT;
    AddImageLocation "add_image_location" = SERVICE_OR_CREATE;
    FetchImageLocation "fetch_image_location" = SERVICE;
    AddMember "add_member" = MEMBER, formerly DEFAULT;
    DeleteMember "delete_member" = MEMBER, formerly DEFAULT;
    GetMember "get_member" = SEE_MEMBERS, formerly DEFAULT;
    GetMembers "get_members" = SEE_MEMBERS, formerly DEFAULT;
    ModifyMember "modify_member" = SHARED_WITH, formerly DEFAULT;
    ManageImageCache "manage_image_cache" = ADMIN;
    Deactivate "deactivate" = MEMBER, formerly DEFAULT;
    Reactivate "reactivate" = MEMBER, formerly DEFAULT;
    CopyImage "copy_image" = ADMIN;
    ListCachedNodes "list_cached_nodes" = ADMIN;
    GetTask "get_task" = DEFAULT, formerly DEFAULT;
    GetTasks "get_tasks" = DEFAULT, formerly DEFAULT;
    AddTask "add_task" = DEFAULT, formerly DEFAULT;
    ModifyTask "modify_task" = DEFAULT;
    TasksApiAccess "tasks_api_access" = ADMIN;
    CacheImage "cache_image" = ADMIN, formerly MANAGE_CACHE;
    CacheList "cache_list" = ADMIN, formerly MANAGE_CACHE;
    CacheDelete "cache_delete" = ADMIN, formerly MANAGE_CACHE;
    CacheClean "cache_clean" = ADMIN;
    CachePrune "cache_prune" = ADMIN;
    StoresInfoDetail "stores_info_detail" = ADMIN_OR_SERVICE, formerly ADMIN;

    MetadefDefault "metadef_default" = "";
    MetadefAdmin "metadef_admin" = ADMIN;
    GetMetadefNamespace "get_metadef_namespace" = SEE_METADEF, formerly METADEF_DEFAULT;
    GetMetadefNamespaces "get_metadef_namespaces" = READER, formerly METADEF_DEFAULT;
    ModifyMetadefNamespace "modify_metadef_namespace" = METADEF_ADMIN;
    AddMetadefNamespace "add_metadef_namespace" = METADEF_ADMIN;
    DeleteMetadefNamespace "delete_metadef_namespace" = METADEF_ADMIN;
    GetMetadefObject "get_metadef_object" = SEE_METADEF, formerly METADEF_DEFAULT;
    GetMetadefObjects "get_metadef_objects" = SEE_METADEF, formerly METADEF_DEFAULT;
    ModifyMetadefObject "modify_metadef_object" = METADEF_ADMIN;
    AddMetadefObject "add_metadef_object" = METADEF_ADMIN;
    DeleteMetadefObject "delete_metadef_object" = METADEF_ADMIN;
    ListMetadefResourceTypes "list_metadef_resource_types" = SEE_METADEF, formerly METADEF_DEFAULT;
    GetMetadefResourceType "get_metadef_resource_type" = SEE_METADEF, formerly METADEF_DEFAULT;
    AddMetadefResourceTypeAssociation "add_metadef_resource_type_association" = METADEF_ADMIN;
    RemoveMetadefResourceTypeAssociation "remove_metadef_resource_type_association" = METADEF_ADMIN;
    GetMetadefProperty "get_metadef_property" = SEE_METADEF, formerly METADEF_DEFAULT;
    GetMetadefProperties "get_metadef_properties" = SEE_METADEF, formerly METADEF_DEFAULT;
    ModifyMetadefProperty "modify_metadef_property" = METADEF_ADMIN;
    AddMetadefProperty "add_metadef_property" = METADEF_ADMIN;
    RemoveMetadefProperty "remove_metadef_property" = METADEF_ADMIN;
    GetMetadefTag "get_metadef_tag" = SEE_METADEF, formerly METADEF_DEFAULT;
    GetMetadefTags "get_metadef_tags" = SEE_METADEF, formerly METADEF_DEFAULT;
    ModifyMetadefTag "modify_metadef_tag" = METADEF_ADMIN;
    AddMetadefTag "add_metadef_tag" = METADEF_ADMIN;
    AddMetadefTags "add_metadef_tags" = METADEF_ADMIN;
    DeleteMetadefTag "delete_metadef_tag" = METADEF_ADMIN;
    DeleteMetadefTags "delete_metadef_tags" = METADEF_ADMIN;
}

impl Action {
    /// Whether only tokens of a project will do (`PO-20`). Rules that are parts of others don't
    /// mind.
    pub(super) fn needs_project(self) -> bool {
        !matches!(
            self,
            Self::Default
                | Self::ContextIsAdmin
                | Self::ServiceApi
                | Self::MetadefDefault
                | Self::MetadefAdmin
        )
    }
}
