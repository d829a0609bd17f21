export type ScenarioKey =
  | "uploads"
  | "consumer"
  | "rename"
  | "rename-refused"
  | "wire"
  | "refuse"
  | "take-over"
  | "takers"
  | "chain";

/** Ways to get the protocol wrong. The model is worth something only because it catches each of them. */
export const mutations = {
  "no-fence": { shownBy: "uploads", wrong: "step 7: the directory isn't renamed to <id>.f before deciding" },
  "delete-unlinks": {
    shownBy: "uploads",
    wrong: "step 7: a delete unlinks its path instead of taking the file into its directory",
  },
  "rename-directly": { shownBy: "rename", wrong: "step 7: a rename goes straight from one path to the other" },
  "rename-unmarked": {
    shownBy: "rename",
    wrong: "step 7: nothing shows that a rename found something, once it was moved on",
  },
  "back-directly": {
    shownBy: "rename-refused",
    wrong: "step 7: a rename that can't be placed is given back at once, and its mark taken away behind it",
  },
  "finish-before-place": {
    shownBy: "uploads",
    wrong: "step 5: record and claim are deleted before the file is placed",
  },
  "clean-before-finish": { shownBy: "uploads", wrong: "step 5: the directory is removed before record and claim" },
  "finish-unguarded": { shownBy: "uploads", wrong: "step 5: finish deletes the claim without comparing the record" },
  "judge-by-path": { shownBy: "uploads", wrong: "step 4: a helper takes a file at the path for its upload" },
  "missing-is-placed": {
    shownBy: "refuse",
    wrong: "step 4: a missing source is taken for placed without looking for the directory",
  },
  "reply-before-place": { shownBy: "uploads", wrong: "step 4: the client is told before the file is at its path" },
  "commit-ignores-names": { shownBy: "uploads", wrong: "step 3: the transaction doesn't compare names/P" },
  "commit-ignores-record": { shownBy: "take-over", wrong: "step 3: the transaction doesn't compare ops/<id>" },
  "commit-before-close": { shownBy: "take-over", wrong: "step 3: the file is still open for writing" },
  "commit-unfenced": { shownBy: "wire", wrong: "step 2: the transaction doesn't compare the owner key" },
  "repeat-anew": { shownBy: "wire", wrong: "step 2: a group that timed out is repeated with the owner key read again" },
  "absence-is-failure": { shownBy: "wire", wrong: "step 2: an absent record is taken for a transaction that failed" },
  "superseded-is-failure": {
    shownBy: "take-over",
    wrong: "step 4: SUPERSEDED read after an own commit is taken for a failure; the record was finished",
  },
  "refuse-in-place": {
    shownBy: "refuse",
    wrong: "step 6: the directory isn't set aside before the refusal is decided",
  },
  "refuse-unguarded": { shownBy: "refuse", wrong: "step 6: REFUSED is put without comparing the record" },
  "refuse-forgets": {
    shownBy: "refuse",
    wrong: "step 6: the record is deleted instead of REFUSED; its owner takes that for success",
  },
  "take-unannounced": { shownBy: "take-over", wrong: "step 8: no SUPERSEDED before the directory is taken" },
  "take-unguarded": { shownBy: "take-over", wrong: "step 8: SUPERSEDED is put over whatever is there" },
  "take-without-copy": {
    shownBy: "take-over",
    wrong: "step 8: the taken inode is written on, though its old writer may live",
  },
  "take-empty": {
    shownBy: "take-over",
    wrong: "step 8: a directory without data is taken for a partial; its upload was finished",
  },
  "take-signs-early": {
    shownBy: "chain",
    wrong: "step 8: the taker writes its name into the directory before it has copied",
  },
  "take-trusts-id": {
    shownBy: "chain",
    wrong: "step 8: whether to copy goes by the last id's owner, who may have died before it copied",
  },
} as const satisfies Record<string, { shownBy: ScenarioKey; wrong: string }>;

export type Mutation = keyof typeof mutations;
