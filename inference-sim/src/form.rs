//! Bodies: JSON, or the multipart form of an upload.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// The body as one JSON value; an uploaded file becomes its size.
pub(crate) async fn read(headers: &HeaderMap, body: Bytes) -> Result<Value, ApiError> {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match multer::parse_boundary(content_type) {
        Ok(boundary) => form(boundary, body).await.map_err(|error| ApiError::bad_request(&error.to_string())),
        Err(_) => serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(&format!("JSON: {error}"))),
    }
}

async fn form(boundary: String, body: Bytes) -> Result<Value, multer::Error> {
    let stream = futures::stream::once(async move { Ok::<_, std::io::Error>(body) });
    let mut form = multer::Multipart::new(stream, boundary);
    let mut fields = Map::new();
    while let Some(field) = form.next_field().await? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        let is_file = field.file_name().is_some();
        let content = field.bytes().await?;
        let value = if is_file { json!({ "bytes": content.len() }) } else { json!(String::from_utf8_lossy(&content)) };
        fields.insert(name, value);
    }
    Ok(Value::Object(fields))
}
