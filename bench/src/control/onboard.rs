//! How many new tenants a minute: the product's own import of a file, from the start of the command to its end,
//! with region, shard, plan, key, notebook and templates that can be searched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use tokio::process::Command;

use crate::failure::Failure;
use crate::report::{line, note};

const COUNTRIES: [&str; 4] = ["DE", "US", "JP", "BR"];
const PLANS: [&str; 5] = [
    "starter",
    "starter",
    "professional",
    "premium",
    "enterprise",
];

pub(super) struct Onboard {
    pub(super) per_min: f64,
    pub(super) failed: f64,
}

pub(super) async fn run(program: &Path, tenants: u32) -> Result<Onboard, Failure> {
    note(format!("control: an import of {tenants} new tenants"));
    let folder = tempfile::Builder::new()
        .prefix("quire-bench-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .map_err(Failure::doing("making a folder"))?;
    let file = folder.path().join("customers.csv");
    fs::write(&file, customers(tenants)).map_err(Failure::doing(file.display()))?;
    let file = file.to_string_lossy().into_owned();
    // The first command makes the database; that is no part of an import.
    let data = folder.path().join("data");
    succeed(quire(program, &data, &["tenant", "create", "first"]).await?)?;

    let started = Instant::now();
    succeed(quire(program, &data, &["tenant", "import", &file]).await?)?;
    let took = started.elapsed().as_secs_f64();

    let listed = succeed(quire(program, &data, &["tenant", "list", "--json"]).await?)?;
    let ready = String::from_utf8_lossy(&listed.stdout)
        .matches("\"slug\": \"newcomer-")
        .count();
    line(format!(
        "onboarding       {ready} of {tenants} tenants in {took:.1} s, the start of the program included"
    ));
    Ok(Onboard {
        per_min: ready as f64 / took * 60.0,
        failed: f64::from(tenants) - ready as f64,
    })
}

fn customers(tenants: u32) -> String {
    let mut file = String::from("slug,name,country,plan\n");
    for number in 0..tenants {
        let country = COUNTRIES[number as usize % COUNTRIES.len()];
        let plan = PLANS[number as usize % PLANS.len()];
        file.push_str(&format!(
            "newcomer-{number},Newcomer {number},{country},{plan}\n"
        ));
    }
    file
}

async fn quire(program: &Path, data: &Path, arguments: &[&str]) -> Result<Output, Failure> {
    Command::new(program)
        .arg("--data")
        .arg(data)
        .args(arguments)
        .output()
        .await
        .map_err(Failure::doing(program.display()))
}

fn succeed(output: Output) -> Result<Output, Failure> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::failed(format!("quire failed: {}", said.trim())))
}
