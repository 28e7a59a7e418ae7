//! A new administrator's token when all are lost: proof is a file in a node's data directory, which only the node's user (and
//! root) can write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cratekeeper_cluster::{Cluster, Request};
use cratekeeper_domain::{Actor, Command, Login, RequestId, Scope, TokenText};
use tokio::time::Instant;

use crate::causes::with_causes;
use crate::serve::token_id;

const FILE_NAME: &str = "new-admin-token";
const WITHIN: Duration = Duration::from_secs(25);

/// Where `cratekeeper token recover` puts the token that it wants issued.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// The token in the file becomes one of `login`'s, with every scope; the history says that the cluster itself issued it. The
/// error is a sentence for the operator.
pub(crate) async fn issue(cluster: &Cluster, data_dir: &Path, login: &str) -> Result<(), String> {
    let file = file(data_dir);
    let text = tokio::fs::read_to_string(&file).await.map_err(|error| {
        let file = file.display();
        format!("{file} cannot be read ({error}); `cratekeeper token recover` writes it")
    })?;
    let token = TokenText::parse(text.trim()).map_err(|rejection| rejection.sentence)?;
    let login = Login::parse(login).map_err(|rejection| rejection.sentence)?;
    let command = Command::IssueToken {
        login: login.clone(),
        token: token_id().map_err(|error| error.to_string())?,
        name: "recovered".to_owned(),
        hash: token.hash(),
        scopes: Scope::ALL.to_vec(),
        crates: Vec::new(),
        expires_at_ms: None,
    };
    let request = Request {
        actor: Actor::default(),
        request: RequestId(*uuid::Uuid::new_v4().as_bytes()),
        command,
    };
    cluster
        .execute(request, Instant::now() + WITHIN)
        .await
        .map_err(|error| with_causes(&error))?;
    tracing::warn!(%login, "an administrator's token was recovered on this node");
    Ok(())
}
