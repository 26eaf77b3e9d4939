//! What a task is to import, as its record says. The record is what Glance writes, so that either
//! shows the other's tasks.

use serde_json::{Value, json};

use crate::image::{ImageId, Status, Task};

/// Where the data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// It is staged.
    GlanceDirect,
    /// A place on the web has it.
    WebDownload {
        /// The place.
        uri: String,
    },
    /// It is the image's already, in other stores.
    CopyImage,
    /// Another Glance has it.
    GlanceDownload {
        /// The region, by which the catalog knows the Glance.
        region: String,
        /// The image there.
        image_id: String,
        /// `public`, `internal` or `admin`.
        interface: String,
    },
}

/// What is to be imported, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where the data comes from.
    pub method: Method,
    /// Ids of the stores; none where stores have no ids, and the only one is meant.
    pub stores: Vec<String>,
    /// Whether one store that fails spoils the whole.
    pub all_must_succeed: bool,
}

impl Method {
    /// The method that a request's `method` names, with what belongs to it; none where something is
    /// missing.
    #[must_use]
    pub fn read(method: &Value) -> Option<Self> {
        let text = |key: &str| method.get(key)?.as_str().map(str::to_owned);
        Some(match text("name")?.as_str() {
            "glance-direct" => Self::GlanceDirect,
            "web-download" => Self::WebDownload { uri: text("uri")? },
            "copy-image" => Self::CopyImage,
            "glance-download" => Self::GlanceDownload {
                region: text("glance_region")?,
                image_id: text("glance_image_id")?,
                interface: text("glance_service_interface").unwrap_or("public".to_owned()),
            },
            _ => return None,
        })
    }

    /// The status from which it starts, and to which a failed import goes back.
    #[must_use]
    pub fn starts_from(&self) -> Status {
        match self {
            Self::GlanceDirect => Status::Uploading,
            Self::WebDownload { .. } | Self::GlanceDownload { .. } => Status::Queued,
            Self::CopyImage => Status::Active,
        }
    }

    /// Whether the image has no data yet.
    #[must_use]
    pub fn brings_data(&self) -> bool {
        *self != Self::CopyImage
    }
}

impl Order {
    /// The record of a request.
    #[must_use]
    pub fn input(image_id: &ImageId, request: &Value, stores: &[String]) -> Value {
        let backend = match stores {
            [] => json!([null]),
            stores => json!(stores),
        };
        json!({ "image_id": image_id.as_str(), "import_req": request, "backend": backend })
    }

    /// What a record says; none where it is of another kind.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        let input = task.input.as_ref()?;
        let request = input.get("import_req")?;
        let stores = input.get("backend")?.as_array()?.iter();
        let all = request.get("all_stores_must_succeed").and_then(Value::as_bool);
        Some(Self {
            method: Method::read(request.get("method")?)?,
            stores: stores.filter_map(|id| id.as_str().map(str::to_owned)).collect(),
            all_must_succeed: all.unwrap_or(true),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn task(input: Value) -> Task {
        Task::pending("t", super::super::IMAGE_IMPORT, &ImageId::random(), input)
    }

    #[test]
    fn im_10_a_record_reads_back() {
        let id = ImageId::random();
        let request = json!({"method": {"name": "glance-direct"}, "stores": ["fast", "slow"]});
        let stores = ["fast".to_owned(), "slow".to_owned()];
        let order = Order::of(&task(Order::input(&id, &request, &stores))).unwrap();
        assert_eq!((order.method, order.all_must_succeed), (Method::GlanceDirect, true));
        assert_eq!(order.stores, stores);
        let request = json!({"method": {"name": "web-download", "uri": "http://h/x"},
            "all_stores_must_succeed": false});
        let input = Order::input(&id, &request, &[]);
        assert_eq!(input["backend"], json!([null]));
        let order = Order::of(&task(input)).unwrap();
        assert_eq!(order.method, Method::WebDownload { uri: "http://h/x".into() });
        assert!(order.stores.is_empty() && !order.all_must_succeed);
        assert_eq!(Order::of(&task(json!({"loc_url": "x"}))), None);
    }
}
