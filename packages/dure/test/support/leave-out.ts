export { leaveOut } from "../../../../tools/servers/leave-out.ts";
