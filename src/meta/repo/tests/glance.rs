//! Our schema and Glance's, compared: what `glance-manage db sync` makes is what we make, each is
//! accepted by the other.

use std::path::Path;
use std::process::{Command, Output};

use super::*;

/// Runs `glance-manage db WORD` on a database.
fn manage(glance: &Path, scratch: &Scratch, database: &Database, word: &str) -> Output {
    let file = scratch.dir.path().join("glance-manage.conf");
    let url = match (&database.connection, &scratch.server_url) {
        (Connection::MySql(server) | Connection::Postgres(server), Some(url)) => {
            let (place, rest) = url.rsplit_once("/glance").unwrap();
            format!("{place}/{}{rest}", server.name)
        }
        (connection, _) => connection.to_string(),
    };
    // `$` stands for an option in these files.
    let url = url.replace('$', "$$");
    std::fs::write(&file, format!("[database]\nconnection = {url}\n")).unwrap();
    Command::new(glance.join("bin/glance-manage"))
        .arg("--config-file")
        .arg(file)
        .args(["db", word])
        .output()
        .unwrap()
}

fn succeeds(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(output.status.success(), "{all}");
    all
}

/// Everything that a database tells about its schema, in lines that can be compared.
async fn schema_of(database: &Database) -> BTreeSet<String> {
    let mut tx = connect_once(database).await.unwrap().unwrap();
    let selects: &[&str] = match &database.connection {
        Connection::Sqlite(_) => &SQLITE,
        Connection::MySql(_) => &MYSQL,
        Connection::Postgres(_) => &POSTGRES,
    };
    let mut lines = BTreeSet::new();
    for select in selects {
        for row in tx.rows(sql(select)).await.unwrap() {
            lines.insert(row.word("line").unwrap().unwrap_or_default().to_owned());
        }
    }
    assert!(lines.len() > 100, "{lines:?}");
    lines
}

const SQLITE: [&str; 3] = [
    "SELECT m.name || ' ' || c.cid || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' '
        || coalesce(c.dflt_value, '-') || ' ' || c.pk AS line
     FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'",
    "SELECT m.name || ' index ' || CASE i.origin WHEN 'c' THEN i.name ELSE i.origin END || ' '
        || i.\"unique\" || ' ' || (SELECT group_concat(name) FROM pragma_index_info(i.name)) AS line
     FROM sqlite_master AS m JOIN pragma_index_list(m.name) AS i WHERE m.type = 'table'",
    "SELECT m.name || ' key ' || f.\"table\" || ' ' || f.\"from\" || ' ' || f.\"to\" AS line
     FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table'",
];

const MYSQL: [&str; 5] = [
    "SELECT concat_ws(' ', table_name, ordinal_position, column_name, column_type, is_nullable,
        coalesce(column_default, '-'), coalesce(collation_name, '-'), extra) AS line
     FROM information_schema.columns WHERE table_schema = database()",
    "SELECT concat_ws(' ', table_name, 'index', index_name, seq_in_index, column_name, non_unique)
        AS line
     FROM information_schema.statistics WHERE table_schema = database()",
    "SELECT concat_ws(' ', table_name, constraint_name, column_name,
        coalesce(referenced_table_name, '-'), coalesce(referenced_column_name, '-')) AS line
     FROM information_schema.key_column_usage WHERE table_schema = database()",
    "SELECT concat_ws(' ', table_name, check_clause, count(*)) AS line
     FROM information_schema.check_constraints
     WHERE constraint_schema = database() GROUP BY table_name, check_clause",
    "SELECT concat_ws(' ', table_name, engine, table_collation) AS line
     FROM information_schema.tables WHERE table_schema = database()",
];

/// Columns are numbered by rank: a column that a migration has dropped leaves a gap.
const POSTGRES: [&str; 4] = [
    "SELECT concat_ws(' ', table_name,
        row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position), column_name,
        udt_name, character_maximum_length, is_nullable, coalesce(column_default, '-')) AS line
     FROM information_schema.columns WHERE table_schema = current_schema()",
    "SELECT indexdef AS line FROM pg_indexes WHERE schemaname = current_schema()",
    "SELECT concat_ws(' ', conrelid::regclass::text, conname, pg_get_constraintdef(oid)) AS line
     FROM pg_constraint WHERE connamespace = current_schema()::regnamespace",
    "SELECT concat_ws(' ', typname, enumsortorder, enumlabel) AS line
     FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid",
];

/// `glance-manage` has nothing to do on our schema, and makes the very same.
#[tokio::test]
async fn glance_and_we_make_the_same_schema_and_accept_each_others() {
    let Some(glance) = crate::env::directory("glance") else { return };
    for scratch in Scratch::all() {
        let (ours, theirs) = (scratch.synced("ours").await, scratch.database("theirs").await);
        let before = schema_of(&ours).await;
        let version = succeeds(&manage(&glance, &scratch, &ours, "version"));
        assert!(version.contains(schema::REVISION), "{version}");
        let check = manage(&glance, &scratch, &ours, "check");
        match &scratch.server {
            // It says so before it looks at any schema.
            Some(Connection::Postgres(_)) => {
                let all = [check.stdout, check.stderr].concat();
                assert!(String::from_utf8_lossy(&all).contains("only for MySQL"), "{all:?}");
            }
            _ => assert!(succeeds(&check).contains("No upgrades needed")),
        }
        succeeds(&manage(&glance, &scratch, &ours, "sync"));
        assert_eq!(schema_of(&ours).await, before, "its sync changes nothing");

        succeeds(&manage(&glance, &scratch, &theirs, "sync"));
        let made = schema_of(&theirs).await;
        let missing: Vec<_> = made.difference(&before).collect();
        let added: Vec<_> = before.difference(&made).collect();
        assert!(missing.is_empty() && added.is_empty(), "missing {missing:#?}, added {added:#?}");
        let repo = SqlRepo::open(&theirs, Durability::None, &Metrics::new()).await.unwrap();
        queued(&repo).await;
        scratch.finish().await;
    }
}
