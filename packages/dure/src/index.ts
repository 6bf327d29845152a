export { createDure, Dure } from "./service/dure.ts";
export type { DureStatus } from "./service/dure.ts";
export type { Handler, OnOptions } from "./service/handler.ts";
export type { DrivenSagas, DureOptions } from "./service/service-options.ts";
export type { BacklogLimits } from "./service/backlog-watch.ts";
export type { ServiceStore } from "./service/service-store.ts";

export type { KeyedTransaction } from "./service/keyed-runner.ts";

export { event } from "./core/event.ts";
export type {
  AnyEventDefinition,
  EventDefinition,
  EventInput,
  EventOptions,
  EventOutput,
  EventToWrite,
} from "./core/event.ts";
export type { Message, MessageContext, MessageLink } from "./core/message.ts";
export type {
  ServiceTransaction,
  TransactionOptions,
  TransactionStore,
} from "./core/service-transaction.ts";
export type { Statement, TransactionHandle } from "./core/transaction.ts";
export type { StandardIssue, StandardResult, StandardSchema } from "./core/standard-schema.ts";

export {
  assert,
  describeError,
  DureError,
  errorCodes,
  isDureError,
  PermanentError,
  RetryableError,
  StepRefusedError,
} from "./core/errors.ts";
export type { ErrorCode } from "./core/errors.ts";
export { backoffMs, defaultRetryPolicy } from "./core/backoff.ts";
export type { RetryPolicy } from "./core/backoff.ts";
export { systemClock } from "./core/clock.ts";
export type { Clock } from "./core/clock.ts";
export { noFaults } from "./core/faults.ts";
export type { FaultPoint, Faults } from "./core/faults.ts";
export { newId } from "./core/id.ts";
export { silentLogger } from "./core/logger.ts";
export type { LogFacts, Logger } from "./core/logger.ts";

export type { Outbox } from "./outbox/outbox.ts";
export type { RelayOptions } from "./outbox/relay.ts";
export type {
  DueRequest,
  FailedAttempt,
  FoundCursor,
  OutboxPositions,
  OutboxStore,
  PreparedEvent,
  ReadRequest,
  RecordingMember,
  Settlement,
  ShardAdvance,
  ShardClaim,
  ShardCursor,
  StoredMessage,
} from "./outbox/outbox-store.ts";

export type { ConsumerOptions } from "./inbox/consumer.ts";
export type { PoisonPolicy, ReceivedMessage } from "./inbox/inbox.ts";
export type { InboxStore, Received } from "./inbox/inbox-store.ts";
export type { OrderCounts } from "./inbox/order-check.ts";
export type {
  DueMessage,
  Failure,
  ParkingSide,
  ParkingStore,
  ParkRequest,
} from "./core/parking.ts";

export { SagaClosed, SagaParked } from "./saga/saga-alert.ts";
export type { SagaClosedData, SagaParkedData } from "./saga/saga-alert.ts";
export { sagaStatuses } from "./saga/saga-event.ts";
export type {
  ParkedStatus,
  SagaCommandKind,
  SagaEvent,
  SagaReason,
  SagaStatus,
} from "./saga/saga-event.ts";
export type { SagaSettings } from "./saga/saga-engine.ts";
export type { CancelOutcome, CancelSagaOptions } from "./saga/saga-cancel.ts";
export type { SagaOutcome } from "./saga/saga-outcomes.ts";
export type { Sagas, StartedSaga, StartSagaOptions } from "./saga/sagas.ts";
export type {
  ClaimPlaces,
  JournalEntry,
  SagaMove,
  SagaSignal,
  SagaStart,
  SagaStore,
  StoredSaga,
} from "./saga/saga-store.ts";
export { FlowOverdue } from "./saga/flow-alert.ts";
export type { FlowOverdueData } from "./saga/flow-alert.ts";
export { flow } from "./saga/flow-builder.ts";
export type { FlowOptions, FlowPath, FlowStepOptions } from "./saga/flow-builder.ts";
export type { FlowDefinition, FlowFact, FlowStepPlan } from "./saga/flow-definition.ts";
export { flowGraph, flowMermaid } from "./saga/flow-graph.ts";
export type { FlowGraph, FlowGraphEdge, FlowGraphNode } from "./saga/flow-graph.ts";
export type { FlowWait } from "./saga/flow-standing.ts";
export type {
  FlowEntry,
  FlowEvent,
  FlowName,
  FlowStore,
  HeardFact,
  OpenedFlow,
} from "./saga/flow-store.ts";
export { saga } from "./saga/saga-builder.ts";
export type { NewSaga, SagaOptions } from "./saga/saga-builder.ts";
export { checkSaga } from "./saga/saga-check.ts";
export type { SagaCheck, SagaFinding } from "./saga/saga-check.ts";
export { sagaDefaults } from "./saga/saga-defaults.ts";
export type { ActionKind, SagaDefaults } from "./saga/saga-defaults.ts";
export type {
  AnySagaDefinition,
  CompensationCall,
  CompensationContext,
  CompensationPlan,
  PlanNode,
  ReplyPlan,
  SagaContext,
  SagaDefinition,
  SagaInput,
  SagaOutput,
  StepAction,
  StepCall,
  StepContext,
  StepPlan,
} from "./saga/saga-definition.ts";
export { sagaGraph } from "./saga/saga-graph.ts";
export type {
  SagaGraph,
  SagaGraphAction,
  SagaGraphCompensation,
  SagaGraphEdge,
  SagaGraphNode,
  SagaGraphStep,
} from "./saga/saga-graph.ts";
export { sagaMermaid } from "./saga/saga-mermaid.ts";
export type { AnySagaPath, SagaGroup, SagaPath, SagaScope } from "./saga/saga-path.ts";
export type {
  ActionSettings,
  CompensationOptions,
  CompensationSettings,
  CompensationView,
  ForwardStepOptions,
  LocalAction,
  MessageAction,
  NoUndo,
  Refusal,
  ReplyDefinition,
  RunAction,
  SagaView,
  StatementAction,
  StepOptions,
  StepSettings,
  StepView,
  Undo,
  WithTransaction,
} from "./saga/step-options.ts";
export type { Refused, Storable } from "./saga/storable.ts";

export { isSemaphoreBusy, SemaphoreBusyError } from "./semaphore/semaphore-error.ts";
export type { SemaphoreBusyFacts } from "./semaphore/semaphore-error.ts";
export type { SemaphoreSettings } from "./semaphore/semaphore-membership.ts";
export type {
  Granting,
  OwnPlace,
  PlaceAnswer,
  PlaceRequest,
  SemaphoreSize,
  SemaphoreStore,
} from "./semaphore/semaphore-store.ts";
export type {
  Permit,
  PermitContext,
  PermitOptions,
  SemaphoreCounts,
  Semaphores,
} from "./semaphore/semaphores.ts";

export type {
  DeadLetterNotice,
  Delivery,
  Fence,
  PartitionBatch,
  Publisher,
  PublishOutcome,
  SubscribeOptions,
  Subscription,
  Transport,
} from "./core/transport.ts";
