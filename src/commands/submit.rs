//! `gleitzeit submit`: submits workflows to a control plane, and waits for their end if requested.

mod several;

use gleitzeit_workflow::spec::Limits;

use crate::batch::read_all;
use crate::cli::{Format, InputArgs, SubmitArgs};
use crate::document::Submitted;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{Followed, OnInterrupt, finish, follow};
use crate::progress::Progress;
use crate::signals::{OnSignal, block_on};
use crate::workflow::{Source, prepare_for};
use crate::{client, definitions, output, workflow};

pub(crate) fn run(args: SubmitArgs) -> CommandResult {
    let (files, given) = args.files_and_inputs();
    let sources = read_all(&files)?;
    if args.dry_run {
        return super::dry_run::there(sources, &given, &args.client, args.output.format());
    }
    match sources.as_slice() {
        [source] => one(source, &given, args),
        several => several::run(several, &given, &args),
    }
}

fn one(source: &Source, given: &InputArgs, args: SubmitArgs) -> CommandResult {
    let waits = args.wait || args.follow;
    // An interrupt leaves the run alone. A command that waits still says how to find it.
    let on_signal = if waits { OnSignal::Finish } else { OnSignal::Drop };
    block_on(on_signal, |stop| async move {
        // A control plane is not started for a file that cannot run.
        let can_run = || {
            let checked = source.check(&definitions::registry_of_environment()?, &Limits::DEFAULT);
            checked.workflow.map(drop).map_err(CommandError::problems)
        };
        let client = client::connect_or_start(&args.client, can_run).await?;
        let prepared = prepare_for(&client, source, given).await?;
        output::notes(&prepared.notes);
        let submission = match args.request_id {
            Some(id) => prepared.submission.request_id(id),
            None => prepared.submission,
        };
        let format = args.output.format();
        let run = workflow::submit(&client, source, submission).await?;
        if !waits {
            let submitted = Submitted { notes: Some(&prepared.notes), ..Submitted::of(&run) };
            output::document(format, &submitted, |submitted| format!("{}\n", submitted.run_id))?;
            if format == Format::Table && !run.is_duplicate() {
                output::note(&format!("submitted; follow it with `gleitzeit watch {}`", run.id()));
            }
            return Ok(Exit::Success);
        }
        if format == Format::Table {
            // Printed first, so that the run can be found again whatever happens to this process.
            output::note(&format!("run {}", run.id()));
        }
        let progress = Progress::new(&prepared.name, prepared.task_count, format);
        let followed = follow(&run, progress, &stop, OnInterrupt::Leave).await?;
        if followed == Followed::Interrupted {
            output::note(&format!("the run continues: `gleitzeit watch {0}`, or `gleitzeit cancel {0}`", run.id()));
        }
        finish(&run, format, Some(&prepared.last_tasks), followed).await
    })
}
